"""Sends the replies of one turn of the event loop to one caller in one message.

It does so for requests that announce that their caller reads bundles; :mod:`rabibridge._amqp.bundles` has their form.

Nothing waits. Whatever is written in one turn of the loop leaves in one send at its end, and until then a reply is kept
here instead of in the buffer of the connection. At the end of the turn, a caller with one reply gets the message that
it would have got without bundles, byte for byte; one with several gets a bundle. Acknowledgements follow behind them,
so that a request leaves its queue only after its reply has been published, as without bundles.

Replies to one caller leave in the order in which they were given, also beside those that go alone, because they are
large, or their request does not announce anything. A bundle is bounded in replies and bytes: what is beyond goes into
the next one. It fits into one frame, and has at most 4 KiB until the broker has accepted a message of 64 KiB, which
reaches no queue. It is as mandatory as a single reply, so that a returned bundle says that its caller is gone.
"""

from __future__ import annotations

from typing import NamedTuple

from rabibridge._amqp.bundles import BUNDLE_REPLIES, encode_bundles

__all__ = ["BundledReply", "ReplyBundles"]


class BundledReply(NamedTuple):
    """A reply that may leave in a bundle.

    Attributes:
        reply_to: where it goes.
        method: the encoded ``basic.publish`` frame for that.
        record: the reply as it is in a bundle.
    """

    reply_to: bytes
    method: bytes
    record: bytes


class ReplyBundles:
    """The replies of one turn that one channel has yet to send.

    Attributes:
        waiting: by address, the method and the records; empty most of the time, which every reply asks.
    """

    __slots__ = ("_channel", "waiting")

    def __init__(self, channel: int) -> None:
        """Send on this channel."""
        self._channel = channel
        self.waiting: dict[bytes, tuple[bytes, list[bytes]]] = {}

    def add(self, reply: BundledReply) -> bool:
        """Keep a reply until the end of the turn; return whether there are enough to its caller to be sent now."""
        reply_to, method, record = reply
        waiting = self.waiting.get(reply_to)
        if waiting is None:
            self.waiting[reply_to] = method, [record]
            return False
        records = waiting[1]
        records.append(record)
        return len(records) >= BUNDLE_REPLIES

    def take(self, reply_to: bytes, max_size: int) -> bytes:
        """Return the frames that send all replies to this caller, in order.

        Args:
            reply_to: where they go.
            max_size: what the body of a bundle may have besides its own limit, in bytes.
        """
        waiting = self.waiting.pop(reply_to, None)
        return encode_bundles(self._channel, *waiting, max_size) if waiting else b""

    def take_all(self, max_size: int) -> bytes:
        """Return the frames that send all replies; ``max_size`` is as for :meth:`take`."""
        waiting, self.waiting = self.waiting, {}
        return b"".join([encode_bundles(self._channel, *one, max_size) for one in waiting.values()])

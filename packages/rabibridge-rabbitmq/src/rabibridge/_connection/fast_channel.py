"""Fast channel: sends and receives the frames of the call path on one channel, bypassing aiormq.

aiormq opens and closes the channel, and declares, binds and consumes on it; of an ``OwnChannel`` it knows nothing.
aiormq must never publish on it: the fast channel counts the delivery tags of its publishes to match publisher confirms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._amqp.methods import PRECONDITION_FAILED, publish_method
from rabibridge._connection.message_receiver import MessageReceiver
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._amqp.frames import Frames
    from rabibridge._connection.multiplexer import Multiplexer

__all__ = ["FastChannel"]

_METHODS_CACHED = 4096


class FastChannel(MessageReceiver):
    """Receives the messages, confirms and returns of one channel, and writes to it until it is closed.

    Subclasses override :meth:`delivered`, :meth:`confirmed`, :meth:`returned`, :meth:`closed`, :meth:`cancelled` and
    :meth:`flow_changed` to handle what arrives.
    """

    def __init__(self, multiplexer: Multiplexer, channel: int, max_payload: int, max_body: int) -> None:
        """Register for the frames of a channel.

        Args:
            multiplexer: the connection.
            channel: channel number.
            max_payload: maximum payload of one frame, in bytes.
            max_body: maximum body size in bytes; one byte more is kept of a longer body.
        """
        super().__init__(channel, max_body)
        self.close_code = 0
        """Reply code with which the broker closed the channel, 0 if it did not."""
        self.close_text = ""
        """Reply text with which the broker closed the channel."""
        self.user_id_refused = False
        """Whether it closed the channel because it knows the user of this connection under another name."""
        self.max_payload = max_payload
        self._multiplexer = multiplexer
        self._publish_methods: dict[str | bytes, bytes] = {}  # encoded; subclasses choose the key
        multiplexer.channels[channel] = self

    def _add_publish_method(
        self, cache_key: str | bytes, exchange: bytes, routing_key: bytes, *, mandatory: bool
    ) -> bytes:
        """Encode a ``basic.publish`` method and cache it in ``_publish_methods``."""
        if len(self._publish_methods) >= _METHODS_CACHED:
            self._publish_methods.clear()
        method = publish_method(self.number, exchange, routing_key, mandatory=mandatory)
        self._publish_methods[cache_key] = method
        return method

    def write(self, frames: Frames) -> None:
        """Send complete frames of this channel; they are dropped if it is closed."""
        if self.open:
            self._multiplexer.write(frames)

    def flush(self) -> None:
        """Send the buffered frames now, before aiormq writes something."""
        self._multiplexer.flush()

    def mark_closing(self) -> None:
        """Send nothing more and discard what arrives: we are about to close the channel."""
        self.open = False

    def detach(self) -> None:
        """Unregister, which leaves all frames to aiormq: the channel is closed."""
        if self._multiplexer.channels.get(self.number) is self:
            del self._multiplexer.channels[self.number]

    def closed_by_broker(self, code: int, text: str) -> None:
        """Called when the broker closes the channel."""
        self.close_code, self.close_text = code, text
        self.user_id_refused = code == PRECONDITION_FAILED and "user_id" in text
        self.detach()
        self._close(ConnectionLostError(f"the broker closed channel {self.number}: {code} {text}"))

    def connection_lost(self, error: ConnectionLostError) -> None:
        """Called when the connection is lost."""
        self._close(error)

    def _close(self, error: ConnectionLostError) -> None:
        # Nothing may be written once the broker has closed the channel: it would close the connection for that.
        if self.open:
            self.open = False
            self.closed(error)

    def closed(self, error: ConnectionLostError) -> None:
        """Called when the broker closes the channel or the connection is lost."""
        raise NotImplementedError

    def flow_changed(self) -> None:
        """Called when publishing is paused or resumed."""

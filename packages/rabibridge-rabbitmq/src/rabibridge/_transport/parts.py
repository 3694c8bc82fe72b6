"""Sends the parts of a reply, in order with each other and with the reply that settles the request.

The broker keeps the order of what is published on one channel to one queue, and only that: in a cluster, what takes
another channel may overtake it or be overtaken. So all parts take the channel of their request. One that is larger than
what the broker is known to accept waits until as large a message, which reaches no queue, was accepted. Only where the
broker may refuse the address, a part takes the slower way of such replies; that is the first one, unless callers are
very many. What comes after a part that waits, waits as well.

The sender takes the place of the channel of its request, so that requests whose replies have no parts need no further
step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic

from rabibridge._transport.interfaces import DeliveryChannel, RequestT_contra
from rabibridge_core.errors import ConnectionLostError, ContentRejectedError

if TYPE_CHECKING:
    from rabibridge._amqp.properties import Properties
    from rabibridge._transport.interfaces import CallKey, Done, PartFeeder, ReplyFrames, ServedQueue
    from rabibridge_core.transport import Reply

__all__ = ["PartSender"]


class PartSender(Generic[RequestT_contra]):
    """The channel of a request whose reply has parts."""

    def __init__(self, channel: DeliveryChannel[RequestT_contra], properties: Properties, sender: str) -> None:
        """Send on ``channel`` the parts of the reply to the request with these properties, of this user."""
        self.via_default_exchange = channel.via_default_exchange
        self._channel = channel
        self._properties = properties
        self._waiting: deque[tuple[Reply, asyncio.Future[None]]] = deque()
        self._under_way: asyncio.Future[None] | None = None
        self._last: tuple[Reply, Done] | None = None
        channel.feeds_to((properties.reply_to, properties.correlation_id, sender), self)

    def send(self, reply: Reply) -> asyncio.Future[None] | None:
        """Send a part; return a future if it waits, takes the slower way, or comes after one that does."""
        if self._under_way is None:
            try:
                frames = self._channel.encode_reply(self._properties, reply)
            except ContentRejectedError as error:
                return _refused(error)
            if frames:
                self._channel.write(frames)
                return None
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((reply, future))
        if self._under_way is None:
            self._send_waiting()
        return future

    def _send_waiting(self) -> None:
        while self._under_way is None and self._waiting:
            reply, future = self._waiting.popleft()
            if self._channel.open:
                self._send_one(reply, future)
            elif not future.done():
                future.set_result(None)
        if self._under_way is None and self._last is not None:
            (reply, done), self._last = self._last, None
            self._send_last(reply, done)

    def _send_one(self, reply: Reply, future: asyncio.Future[None]) -> None:
        try:
            frames = self._channel.encode_reply(self._properties, reply)
            if frames:
                self._channel.write(frames)
                _finish(future, None)
                return
            self._under_way = future
            if not self._channel.try_size(self._properties, reply, lambda refusal: self._size_tried(reply, refusal)):
                self._channel.reply_apart(self._properties, reply, self._sent_apart)
        except ContentRejectedError as error:
            self._under_way = None
            _finish(future, error)

    def _size_tried(self, reply: Reply, refusal: Exception | None) -> None:
        if refusal is None and self._channel.open:
            frames = self._channel.encode_reply(self._properties, reply)
            if frames:
                self._channel.write(frames)
            else:
                self._channel.reply_apart(self._properties, reply, self._sent_apart)
                return
        self._sent_apart(refusal)

    def _sent_apart(self, refusal: Exception | None) -> None:
        future, self._under_way = self._under_way, None
        if future is not None:
            _finish(future, refusal)
        self._send_waiting()

    def _send_last(self, reply: Reply, done: Done) -> None:
        if not self._channel.open:
            done(ConnectionLostError("the channel is closed"))
            return
        frames = self._channel.encode_reply(self._properties, reply)
        if frames:
            self._channel.write(frames)
            done(None)
        else:
            self._channel.reply_apart(self._properties, reply, done)

    @property
    def open(self) -> bool:
        return self._channel.open

    @property
    def address(self) -> str:
        return self._channel.address

    @property
    def user_id(self) -> bytes:
        return self._channel.user_id

    @property
    def consumer(self) -> ServedQueue:
        return self._channel.consumer

    def feeds_to(self, call: CallKey, sender: PartFeeder) -> None:
        self._channel.feeds_to(call, sender)

    def encode_reply(self, properties: Properties, reply: Reply) -> ReplyFrames:
        return b"" if self._under_way is not None else self._channel.encode_reply(properties, reply)

    def reply_apart(self, properties: Properties, reply: Reply, done: Done) -> None:
        if self._under_way is None:
            self._channel.reply_apart(properties, reply, done)
        else:
            self._last = reply, done

    def try_size(self, properties: Properties, reply: Reply, done: Done) -> bool:
        return self._under_way is None and self._channel.try_size(properties, reply, done)

    def write(self, frames: ReplyFrames) -> None:
        self._channel.write(frames)

    def flush(self) -> None:
        self._channel.flush()

    async def synchronize(self) -> None:
        await self._channel.synchronize()

    def settle(self, frames: ReplyFrames, tag: int) -> None:
        self._forget()
        self._channel.settle(frames, tag)

    def accept(self, tag: int) -> None:
        self._channel.accept(tag)

    def reject(self, tag: int, *, requeue: bool) -> None:
        self._forget()
        self._channel.reject(tag, requeue=requeue)

    def dead_letter(self, request: RequestT_contra, reason: str, done: Done) -> None:
        self._channel.dead_letter(request, reason, done)

    def probe(self, reply_to: bytes) -> None:
        self._channel.probe(reply_to)

    def _forget(self) -> None:
        """Send none of the parts that wait: the request is settled without a reply, and may run elsewhere."""
        while self._last is None and self._waiting:
            _finish(self._waiting.popleft()[1], None)


def _refused(error: ContentRejectedError) -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _finish(future, error)
    return future


def _finish(future: asyncio.Future[None], refusal: Exception | None) -> None:
    """End the future of a part. One that was lost is done as well: the caller is gone, or notices the gap."""
    if future.done():
        return
    if isinstance(refusal, ContentRejectedError):
        future.set_exception(refusal)
        future.exception()  # whoever settles the request at once does not wait for it: asyncio need not log that
    else:
        future.set_result(None)

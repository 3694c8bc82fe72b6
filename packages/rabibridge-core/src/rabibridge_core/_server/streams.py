"""Sends the items of one stream: gathers them, and waits while its caller does not keep up.

What is yielded in one iteration of the event loop leaves in one message, without a timer. While as much is on its way
as the caller allows, items are gathered up to one message, and then the producer waits.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.payloads import item_error
from rabibridge_core._protocol.streams import (
    GATHERED_ITEMS,
    INDEX,
    ITEMS,
    LAST_BYTES,
    PART,
    TOTAL,
)
from rabibridge_core._server.exceptions import UnsendableItemError
from rabibridge_core._server.gathering import Gathered
from rabibridge_core._server.outstanding import Outstanding
from rabibridge_core._server.stream_parts import joined
from rabibridge_core._server.stream_turns import TURN, turn_length
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core._server.stream_parts import PartWriter
    from rabibridge_core.transport import HeaderValue, IncomingRequest

__all__ = ["StreamSender"]

_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class StreamSender(Gathered):
    """Sends the items of one stream, within the window of its caller. All methods belong to the event loop."""

    __slots__ = (
        "_codec", "_encoder", "_failed", "_gate", "_loop", "_name", "_others", "_out", "_parts", "_request",
        "_scheduled", "_stopped", "_trial", "_turn_ends", "_waiter", "_window", "encode",
        "failure", "last", "on_room", "sent",
    )  # fmt: skip

    def __init__(
        self,
        parts: PartWriter,
        codec: Codec,
        request: IncomingRequest,
        *,
        name: str,
        window: Window,
        start: int,
        failed: Callable[[], None],
        others: Callable[[], int],
    ) -> None:
        """Send items in reply to ``request``, from the index ``start`` on.

        Args:
            parts: sends the parts.
            codec: encodes them.
            request: the request.
            name: the service, for errors.
            window: what the caller allows to be on its way.
            start: the index of the first item.
            failed: called when an item that was accepted cannot be sent; :attr:`failure` says why.
            others: returns how many streams the service has now, this one included.
        """
        self._parts = parts
        self._codec = codec
        self._encoder = codec.items(request.content_type)
        super().__init__(joins=self._encoder.joins, window=window.size)
        self.encode = self._encoder.encode
        """Encodes one item; may be called from any thread."""
        self._request = request
        self._name = name
        self._window = window
        self._failed = failed
        self._others = others
        self._loop = asyncio.get_running_loop()
        self.sent = start
        """The index of the next item to send: so many items were sent, in this run and those before it."""
        self.last: list[bytes] = []
        """The items that :meth:`last_reply` sends."""
        self.failure: BaseException | None = None
        self.on_room: Callable[[], None] | None = None
        """Called when there is room again and nobody awaits :meth:`room`."""
        self._out: Outstanding | None = None
        """What was sent and not reported as consumed; ``None``: nothing was sent."""
        self._gate: asyncio.Future[None] | None = None
        """The transport takes its time with the last part, ..."""
        self._trial: tuple[list[bytes], int, bool] = [], 0, False
        """... which has these items, and so many bytes, and may be the first one."""
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        self._turn_ends = monotonic() + TURN
        self._scheduled = True
        self._loop.call_soon(self._turn)

    def add(self, value: Any) -> bool:
        """Encode and send one item, now or with others; return whether :meth:`room` must be awaited before the next.

        Raises:
            UnsendableItemError: it cannot be encoded, or is too large.
        """
        try:
            item = self.encode(value)
        except Exception as error:  # noqa: BLE001 - a serializer may raise anything
            raise UnsendableItemError from self.explained(value, self.sent + self.unsent, error)
        return self.append(item)

    def explained(self, value: Any, index: int, error: Exception) -> Exception:
        """Return the error of an item that could not be encoded, with the place in it."""
        if isinstance(error, SerializationError):
            return item_error(self._codec, self._request, value, index, error, self._name)
        return error

    def append(self, item: bytes) -> bool:
        """Do what :meth:`add` does, with an item that :attr:`encode` has returned."""
        items, size = self._items, self._size + len(item)
        if items and (size > self._most or not self._joins):
            self._complete()
            items, size = self._items, len(item)
        items.append(item)
        self._size = size
        if not self._scheduled:
            self._scheduled = True
            self._turn_ends = monotonic() + turn_length(self._others())
            self._loop.call_soon(self._turn)
        if size >= self._most or len(items) >= GATHERED_ITEMS or self._queue:
            self._send(partly=False)
            if self.full:
                return True
        return monotonic() > self._turn_ends

    async def room(self) -> None:
        """Wait until the next item may be added, at least until other work on the event loop had its turn.

        Raises:
            UnsendableItemError: what was added before cannot be sent.
        """
        if not self.full:
            await asyncio.sleep(0)
        while self.full and self.failure is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.check()

    def check(self) -> None:
        """Raise the error of what could not be sent.

        Raises:
            UnsendableItemError: there is one.
        """
        if self.failure is not None:
            raise UnsendableItemError from self.failure

    def credit(self, consumed: int) -> None:
        """Called when the caller says how many messages it has consumed so far. A number that cannot be is ignored."""
        if self._out is not None and self._out.consumed(consumed):
            self._go_on()

    def leave_last(self) -> bool:
        """Leave what was gathered to :meth:`last_reply`, if it is short and nothing else is to be sent."""
        if self._queue or self._gate is not None or self.failure is not None or self._size > LAST_BYTES:
            return False
        self.last = self._take()
        return True

    async def finish(self) -> None:
        """Send what was gathered; it does not wait for the caller, so that a slow one holds no place here.

        Raises:
            UnsendableItemError: an item cannot be sent.
        """
        self._complete()
        while not self._stopped and (self._queue or self._gate is not None):
            if self._gate is not None:
                await asyncio.wait((self._gate,))
            else:
                self._send(beyond=True)
            self.check()
        self.check()

    def last_reply(self, headers: dict[str, HeaderValue]) -> Reply:
        """Return the reply with the last items that ends the stream.

        Raises:
            RabiBridgeError: they cannot be sent.
        """
        items, self.last = self.last, []
        headers[INDEX] = self.sent
        self._parts.begin(headers)
        body, content_type, encoding, _ = joined(self._codec, self._encoder, self._request, items, self.sent)
        self.sent += len(items)
        headers[TOTAL] = self.sent
        reply: Reply = _new_tuple(Reply, (body, content_type, encoding, headers))
        return reply

    def stop(self) -> None:
        """Send nothing from now on."""
        self._stopped = True
        self._drop()
        self._wake()

    def _turn(self) -> None:
        """Send what was added in this iteration of the event loop."""
        self._scheduled = False
        if self._stopped:
            return
        self._go_on()
        if not self._parts.begun and self.failure is None:
            try:
                self._parts.open()
            except Exception as error:  # noqa: BLE001 - of the transport
                self._fail(error)

    def _go_on(self) -> None:
        self._send()
        if not self.full:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self.on_room is not None:
            self.on_room()

    def _send(self, *, partly: bool = True, beyond: bool = False) -> None:
        """Send messages while the window allows it.

        Args:
            partly: also a message that more items can be gathered in.
            beyond: without regard to the window.
        """
        while self._gate is None and not self._stopped and self.failure is None and (partly or self.full):
            if self._out is not None and self._out.full and not beyond:
                return
            if self._queue:
                items = self._queue.pop(0)
            elif self._items:
                items = self._take()
            else:
                return
            try:
                self._send_items(items)
            except Exception as error:  # noqa: BLE001 - of the codec or the transport; the stream ends with it
                self._fail(error)

    def _send_items(self, items: list[bytes]) -> None:
        first = not self._parts.begun
        try:
            body, content_type, encoding, _ = joined(self._codec, self._encoder, self._request, items, self.sent)
        except ContentRejectedError:
            if len(items) == 1:
                raise
            self._halve(items, sum(map(len, items)))
            return
        gate = self._parts.write({PART: ITEMS, INDEX: self.sent}, body, content_type, encoding)
        self.sent += len(items)
        if self._out is None:
            self._out = Outstanding(self._window)
        self._out.sent(len(body))
        if gate is not None:
            self._gate, self._trial = gate, (items, len(body), first)
            gate.add_done_callback(self._gate_opened)

    def _gate_opened(self, gate: asyncio.Future[None]) -> None:
        (items, size, first), self._gate = self._trial, None
        error = None if gate.cancelled() else gate.exception()
        if self._stopped:
            return
        if isinstance(error, ContentRejectedError) and len(items) > 1:  # the broker accepts less than was gathered
            assert self._out is not None
            self._out.unsent()
            self.sent -= len(items)
            self._parts.begun = not first
            self._halve(items, size)
            self._go_on()
        elif error is not None:
            self._fail(error)
        else:
            self._go_on()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self._failed()
        self._wake()

"""Runs generator functions: async ones in the task of their request, others in a thread of their service.

An async generator is entered, advanced and closed in one and the same task, whatever ends it, as cancel scopes, task
groups and context variables require. While its caller does not keep up, the generator stands at its ``yield``; what
interrupts that wait is raised there, as if ``yield`` were an ``await``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.streams import GATHERED_BYTES, GATHERED_ITEMS
from rabibridge_core._server.exceptions import UnsendableItemError
from rabibridge_core._server.executors import invoke

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.streams import StreamSender

__all__ = ["ThreadItems", "drive_async", "drive_in_thread"]


async def drive_async(
    handler: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    sender: StreamSender,
    active: ActiveRequest,
) -> None:
    """Send what an async generator function yields.

    Raises:
        ArgumentsRefusedError: the arguments do not fit its signature.
        UnsendableItemError: it has yielded what cannot be sent; the generator was closed.
        BaseException: what it raises.
    """
    generator: AsyncGenerator[Any, None] = invoke(handler, args, kwargs)
    advance, add = generator.__anext__, sender.add
    ended = False
    try:
        step = advance()
        while True:
            try:
                item = await step
            except StopAsyncIteration:
                ended = True
                return
            if active.stop_reason is not None:
                return  # it goes on although it was cancelled: nobody wants this item
            if not add(item):
                step = advance()
                continue
            try:
                await sender.room()
            except UnsendableItemError:
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, which its timeouts and scopes have to see
                step = generator.athrow(error)
            else:
                step = advance()
    finally:
        if not ended:
            await generator.aclose()


class ThreadItems:
    """Hands items from the thread that runs a generator to the sender of its stream, on the event loop."""

    __slots__ = ("_changed", "_items", "_loop", "_scheduled", "_sender", "_size", "stopped")

    def __init__(self, sender: StreamSender) -> None:
        """Give items to ``sender``; made on its event loop."""
        self._sender = sender
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._items: deque[bytes] = deque()
        self._size = 0
        self._scheduled = False
        self.stopped = False
        sender.on_room = self._take

    def put(self, item: bytes) -> bool:
        """Hand over one item from the thread, and wait while the caller does not keep up.

        Returns:
            Whether the generator goes on; ``False``: the stream was stopped.
        """
        with self._changed:
            if self.stopped:
                return False
            self._items.append(item)
            self._size += len(item)
            if not self._scheduled:
                try:
                    self._loop.call_soon_threadsafe(self._take)
                except RuntimeError:  # the loop is closed
                    return False
                self._scheduled = True
            while self._size >= GATHERED_BYTES or len(self._items) >= GATHERED_ITEMS:
                self._changed.wait()
                if self.stopped:
                    return False
        return True

    def stop(self) -> None:
        """Make :meth:`put` return ``False``, now and from now on."""
        with self._changed:
            self.stopped = True
            self._items.clear()
            self._size = 0
            self._changed.notify_all()

    async def drained(self) -> None:
        """Wait until the sender has taken everything.

        Raises:
            UnsendableItemError: something cannot be sent.
        """
        self._take()
        while self._items:
            await self._sender.room()
            self._take()

    def _take(self) -> None:
        sender = self._sender
        with self._changed:
            self._scheduled = False
            while self._items and not sender.full:
                item = self._items.popleft()
                self._size -= len(item)
                sender.append(item)
            self._changed.notify()


def drive_in_thread(
    handler: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    sender: StreamSender,
    items: ThreadItems,
) -> None:
    """Send what a generator function yields, from a thread.

    If the stream is stopped, ``GeneratorExit`` is raised at its ``yield``.

    Raises:
        ArgumentsRefusedError: the arguments do not fit its signature.
        UnsendableItemError: it has yielded what cannot be sent; the generator was closed.
        BaseException: what it raises.
    """
    generator: Generator[Any, None, None] = invoke(handler, args, kwargs)
    encode, put = sender.encode, items.put
    index = sender.sent
    try:
        for value in generator:
            try:
                item = encode(value)
            except Exception as error:  # noqa: BLE001 - a serializer may raise anything
                raise UnsendableItemError from sender.explained(value, index, error)
            index += 1
            if not put(item):
                return
    finally:
        generator.close()

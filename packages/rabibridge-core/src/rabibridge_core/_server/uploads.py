"""Reads the items that a caller feeds one argument with: in order, checked, and no faster than they are consumed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.headers import ERROR_MESSAGE, ERROR_TYPE
from rabibridge_core._protocol.streams import (
    CREDIT,
    END,
    ERROR,
    INDEX,
    ITEMS,
    PART,
    feed_context,
    read_index,
)
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.errors import StreamError

if TYPE_CHECKING:
    from rabibridge_core._codec.annotations import ResultAdapter
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core._server.stream_parts import PartWriter
    from rabibridge_core.transport import Reply

__all__ = ["UploadReader"]


class UploadReader:
    """The messages of one upload that were not read yet; :meth:`fed` and :meth:`stop` belong to the event loop."""

    def __init__(
        self,
        parts: PartWriter,
        codec: Codec,
        *,
        name: str,
        argument: str,
        correlation_id: bytes,
        window: Window,
        adapter: ResultAdapter | None,
    ) -> None:
        """Read the items of an argument.

        Args:
            parts: tells the caller what was consumed.
            codec: decodes the items.
            name: the service, for errors.
            argument: the name of the argument, for errors.
            correlation_id: of the request.
            window: what the caller may have on its way.
            adapter: checks and converts each item; ``None``: they are taken as they come.
        """
        self.codec = codec
        self.adapter = adapter
        self.received = 0
        """How many items were given to the function."""
        self._parts = parts
        self._what = f"{name}(): the upload of {argument!r}"
        self._name = name
        self._correlation_id = correlation_id
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._messages: deque[tuple[Reply, int]] = deque()
        self._next = 0
        """The index that the next message to be read must have."""
        self._held = 0
        """The bytes of the messages that were not read."""
        self._consumed = 0
        self._unreported = 0
        self._unreported_size = 0
        self._ended: int | None = None
        self._failure: StreamError | None = None
        self.stopped = False
        """Whether the call is over."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether anything of the upload was taken from the caller, who may be unable to send it again."""
        return self._consumed > 0

    def fed(self, kind: str, message: Reply) -> None:
        """Called with a message of the caller: items, the end or an error."""
        with self._changed:
            if self._failure is not None or self._ended is not None or self.stopped:
                return
            index = read_index(message.headers)
            if kind == ERROR:
                self._fail(f"the caller has failed{_reason(message)}")
            elif index is None:
                self._fail("a message of the caller has no index")
            elif kind == END:
                self._ended = index
            elif kind == ITEMS:
                if len(self._messages) >= self._window.messages or self._held >= self._window.size:
                    self._fail("the caller sends more than its window allows")
                else:
                    self._held += len(message.body)
                    self._messages.append((message, index))
            else:
                return
            self._wake()

    def stop(self) -> None:
        """End the wait of a thread for the next item: the call is over."""
        with self._changed:
            self.stopped = True
            self._messages.clear()
            self._wake()

    def _fail(self, why: str) -> None:
        self._messages.clear()  # what came before is of no use any more: the function is to hear of it now
        self._failure = self.error(why)

    def error(self, why: str) -> StreamError:
        """Return the error that the function gets."""
        return StreamError(
            f"{self._what} broke off after {self.received} items: {why}",
            func_name=self._name,
            correlation_id=self._correlation_id.decode("utf-8", "backslashreplace"),
            received=self.received,
            executed=True,
        )

    def _wake(self) -> None:
        self._changed.notify_all()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def check(self) -> None:
        """Raise the error that the caller has sent, even if items that came before were not read.

        Raises:
            StreamError: there is one.
        """
        if self._failure is not None:
            raise self._failure

    def take(self) -> tuple[Reply, bytes] | None:
        """Return the next message and its context, if one is there; the caller of this holds no lock.

        Raises:
            StreamError: the upload broke off.
            StopIteration: it is complete.
        """
        with self._changed:
            self.check()
            if self._messages:
                message, index = self._messages.popleft()
                self._held -= len(message.body)
                if index != self._next:
                    self._fail(f"its item {self._next} is missing, as the next message begins with item {index}")
                    self.check()
                return message, feed_context(self._correlation_id, index)
            if self._ended is not None:
                if self._ended != self._next:
                    self._fail(f"it ends after {self._ended} items, of which {self._next} have come")
                    self.check()
                raise StopIteration
            return None

    def advance(self, count: int) -> None:
        """Called when the message that was taken last is found to have so many items."""
        self._next += count

    def consumed(self, size: int) -> None:
        """Called on the event loop when a message with a body of this size was taken: tells the caller in time."""
        self._consumed += 1
        self._unreported += 1
        self._unreported_size += size
        if 2 * self._unreported >= self._window.messages or 2 * self._unreported_size >= self._window.size:
            self._unreported = self._unreported_size = 0
            self._parts.write({PART: CREDIT, INDEX: self._consumed})

    async def arrival(self) -> None:
        """Wait until something has arrived."""
        with self._changed:
            if self._messages or self._ended is not None or self._failure is not None:
                return
            self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wait_in_thread(self) -> None:
        """Wait until something has arrived, in a thread.

        Raises:
            CancelledError: the call was stopped.
        """
        with self._changed:
            while not (self._messages or self._ended is not None or self._failure is not None):
                if self.stopped:
                    raise asyncio.CancelledError
                self._changed.wait()

    def consumed_in_thread(self, size: int) -> None:
        """Do what :meth:`consumed` does, from a thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is told
            self._loop.call_soon_threadsafe(self.consumed, size)

    def checked(self, item: Any) -> Any:
        """Return an item as the annotation says.

        Raises:
            SerializationError: it does not fit.
        """
        self.received += 1
        return item if self.adapter is None else self.adapter(item)


def _reason(message: Reply) -> str:
    headers = message.headers or {}
    name, text = headers.get(ERROR_TYPE), headers.get(ERROR_MESSAGE)
    if not isinstance(name, str) or not name:
        return ""
    return f": {printable(name)}" + (f": {printable(text)}" if isinstance(text, str) and text else "")

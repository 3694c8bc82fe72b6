"""What has arrived of one run of a stream: its messages in order, and how much of them was consumed."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from rabibridge_core._protocol.streams import (
    ADDRESS,
    CREDIT,
    ITEMS,
    PART,
    PROGRESS,
    RESUMABLE,
    WINDOW,
    read_address,
    read_index,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rabibridge_core._protocol.streams import Window
    from rabibridge_core.transport import Headers, Reply

__all__ = ["StreamState"]

_BEYOND = 3
"""How many messages may come beyond the window: the one that exceeds it, and two with which a stream ends."""


class StreamState:
    """The messages of one request for a stream that have arrived, and what the reader has taken of them.

    A request may run more than once: the broker gives it to another worker if the first one is gone. What the first run
    has sent is dropped then if nothing of it was taken; else nothing of the second one is used, and :attr:`restarted`
    is set. A message that is missing, comes twice or at the wrong place is found when it is taken, by its index.

    Attributes:
        start: the index of the first item that the request asks for.
        next_index: the index of the next item to be taken.
        messages: messages with items that nobody has taken yet.
        address: where the worker can be sent further messages; empty: no part has come.
        headers: those of the first part of the run; they tell about the service.
        resumable: whether another worker can go on where this one breaks off.
        restarted: whether another run has begun after items of the first one were taken.
        broken: why the messages cannot be those of a stream, as a clause; empty: they can.
        on_upload: called with the headers of the first part, and of each credit for an upload, if there is one.
        on_progress: called with reports of progress, if they are wanted.
    """

    def __init__(self, start: int, window: Window) -> None:
        """Wait for the items from ``start`` on, in messages that ``window`` allows."""
        self.start = self.next_index = start
        self.messages: deque[Reply] = deque()
        self.address = ""
        self.headers: Headers = {}
        self.resumable = False
        self.restarted = False
        self.broken = ""
        self.on_upload: Callable[[Headers], None] | None = None
        self.on_progress: Callable[[Reply], None] | None = None
        self._window = window
        self._waiter: asyncio.Future[None] | None = None
        self._buffered = 0
        self._consumed = self._unreported = self._unreported_bytes = 0

    @property
    def taken(self) -> bool:
        """Whether items of this request were taken."""
        return self.next_index > self.start

    @property
    def awaits(self) -> bool:
        """Whether the next part has to be awaited: there is nothing to take, and nothing that ends the run."""
        return not (self.messages or self.broken or self.restarted)

    @property
    def stands_still(self) -> bool:
        """Whether the worker has to wait until the reader goes on: about half of the window was not taken."""
        window = self._window
        return 2 * len(self.messages) >= window.messages or 2 * self._buffered >= window.size

    def arrived(self, part: Reply) -> None:
        """Called for each reply that others follow, or that ends the stream and holds its last items."""
        if self.restarted or self.broken:
            return
        headers = part.headers or {}
        if headers.get(ADDRESS):
            self._run_began(headers)
        elif not self.address:
            self.broken = "its first message is missing"
        kind = headers.get(PART)
        if (kind == ITEMS or kind is None) and not self.restarted and not self.broken:
            self._add(part)
        elif kind == CREDIT and self.on_upload is not None:
            self.on_upload(headers)
        elif kind == PROGRESS and self.on_progress is not None:
            self.on_progress(part)
        self.wake()

    def take(self, count: int) -> None:
        """Take the first message, which has ``count`` items."""
        size = len(self.messages.popleft().body)
        self.next_index += count
        self._buffered -= size
        self._consumed += 1
        self._unreported += 1
        self._unreported_bytes += size

    def check_next(self) -> str:
        """Return why the first message cannot be the next one, as a clause; empty if it is."""
        index = read_index(self.messages[0].headers)
        if index == self.next_index:
            return ""
        if index is None:
            return "a message does not say which items it has"
        what = "is missing" if index > self.next_index else "came twice or too late"
        return f"a message {what}: the item {self.next_index} should come next, and {index} did"

    def credit(self) -> int | None:
        """Return how many messages were consumed, if it is time to tell the worker; else ``None``."""
        window = self._window
        if 2 * self._unreported < window.messages and 2 * self._unreported_bytes < window.size:
            return None
        self._unreported = self._unreported_bytes = 0
        return self._consumed

    @property
    def consumed(self) -> int:
        """How many messages of the run were consumed."""
        return self._consumed

    def drop(self) -> None:
        """Drop what nobody has taken."""
        self.messages.clear()
        self._buffered = 0

    async def changed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the next part, or for :meth:`wake`. One task at a time waits."""
        self._waiter = waiter = loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Wake the task that waits, if one does."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _run_began(self, headers: Headers) -> None:
        address = read_address(headers)
        if not address:
            self.broken = "its first message has no address that is one"
            return
        if self.address and self.taken:
            self.restarted = True
            return
        self.drop()
        self._consumed = self._unreported = self._unreported_bytes = 0
        self.address, self.headers = address, headers
        self.resumable = headers.get(RESUMABLE) is True
        if self.on_upload is not None and WINDOW in headers:
            self.on_upload(headers)

    def _add(self, part: Reply) -> None:
        messages, window = self.messages, self._window
        messages.append(part)
        self._buffered += len(part.body)
        allowed = window.messages + _BEYOND
        if len(messages) > allowed or (self._buffered > window.size and self._is_too_much()):
            self.broken = f"its worker sends more than the window of {window.messages} messages and {window.size} bytes"
            self.drop()

    def _is_too_much(self) -> bool:
        """Tell whether the messages but the last ones take more than the window."""
        inner = max(0, len(self.messages) - _BEYOND)
        return sum(len(message.body) for message in islice(self.messages, inner)) >= self._window.size

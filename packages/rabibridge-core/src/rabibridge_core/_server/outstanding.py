"""Counts what was sent of one stream and not yet reported as consumed, against the window of its caller."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core._protocol.streams import Window

__all__ = ["Outstanding"]


class Outstanding:
    """The messages on their way."""

    __slots__ = ("_consumed", "_size", "_sizes", "_window")

    def __init__(self, window: Window) -> None:
        """Nothing is on its way."""
        self._window = window
        self._sizes: deque[int] = deque()
        self._size = 0
        self._consumed = 0

    @property
    def full(self) -> bool:
        """Whether no further message may be sent."""
        return len(self._sizes) >= self._window.messages or self._size >= self._window.size

    def sent(self, size: int) -> None:
        """Count a message of so many bytes."""
        self._sizes.append(size)
        self._size += size

    def unsent(self) -> None:
        """Take back the last message."""
        self._size -= self._sizes.pop()

    def consumed(self, count: int) -> bool:
        """Count what was consumed, ``count`` messages so far; return whether that says anything new, and can be."""
        new = count - self._consumed
        if not 0 < new <= len(self._sizes):
            return False
        for _ in range(new):
            self._size -= self._sizes.popleft()
        self._consumed = count
        return True

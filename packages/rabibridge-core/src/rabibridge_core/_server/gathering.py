"""Gathers encoded items into messages, and halves messages that turn out to be too large."""

from __future__ import annotations

from rabibridge_core._protocol.streams import GATHERED_BYTES, GATHERED_ITEMS

__all__ = ["Gathered"]


class Gathered:
    """The items of one stream that were not sent yet."""

    __slots__ = ("_items", "_joins", "_most", "_queue", "_size")

    def __init__(self, *, joins: bool, window: int) -> None:
        """Gather nothing yet.

        Args:
            joins: whether a message can hold several items.
            window: bytes that the caller allows to be on their way.
        """
        self._joins = joins
        self._most = min(GATHERED_BYTES, window)
        """Items are gathered up to this size."""
        self._items: list[bytes] = []
        self._size = 0
        self._queue: list[list[bytes]] = []
        """Messages that are complete and wait."""

    @property
    def full(self) -> bool:
        """Whether the producer has to wait before the next item."""
        return bool(self._queue) or self._size >= self._most or len(self._items) >= GATHERED_ITEMS

    @property
    def unsent(self) -> int:
        """The number of items."""
        return len(self._items) + sum(map(len, self._queue))

    def _complete(self) -> None:
        if self._items:
            self._queue.append(self._items)
            self._take()

    def _take(self) -> list[bytes]:
        """Return what is gathered for a message that is not complete, and begin another one."""
        items, self._items, self._size = self._items, [], 0
        return items

    def _halve(self, items: list[bytes], size: int) -> None:
        """Put the items of a message of so many bytes, which is too large, back as two; gather less from now on."""
        self._most = max(size // 2, 1)
        half = len(items) // 2
        self._queue[:0] = [items[:half], items[half:]]

    def _drop(self) -> None:
        self._take()
        self._queue.clear()

"""Gathers the items of one upload into messages, and counts what is on its way against the window of the worker."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rabibridge_core._protocol.streams import FED_BYTES, GATHERED_ITEMS, INDEX, ITEMS, PART, feed_context
from rabibridge_core.errors import ContentRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.joining import ItemEncoder
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core.transport import Headers

__all__ = ["UploadMessages"]


class UploadMessages:
    """The items that were not sent yet, and the messages that were not reported as consumed.

    Attributes:
        index: the index of the next item to send: so many were sent.
    """

    def __init__(self, encoder: ItemEncoder, feed: Callable[[Headers, bytes, str, str | None], None]) -> None:
        """Send with ``feed`` what ``encoder`` has encoded, once there is a window."""
        self.index = 0
        self._encoder = encoder
        self._feed = feed
        self._correlation_id = b""
        self._window: Window | None = None
        self._most = FED_BYTES
        """Items are gathered up to this size."""
        self._items: list[bytes] = []
        self._size = 0
        self._sent: deque[int] = deque()
        self._sent_size = self._acknowledged = 0

    def begin(self, correlation_id: bytes, window: Window) -> None:
        """Feed this request, as its worker allows."""
        self._correlation_id = correlation_id
        self._window = window
        self._most = min(self._most, window.size)

    @property
    def waiting(self) -> bool:
        """Whether there are items that were not sent."""
        return bool(self._items)

    def has_room_for(self, item: bytes) -> bool:
        """Tell whether an item can be sent with those that wait."""
        return not self._items or self._size + len(item) <= self._most

    def add(self, item: bytes) -> bool:
        """Gather one item; return whether the message is complete."""
        self._items.append(item)
        self._size += len(item)
        return self._size >= self._most or len(self._items) >= GATHERED_ITEMS or not self._encoder.joins

    def send(self) -> None:
        """Send what is gathered, as far as the window allows it.

        Raises:
            ContentRejectedError: an item alone is larger than ``max_body`` or the broker allows.
        """
        window = self._window
        while self._items and window is not None:
            if len(self._sent) >= window.messages or self._sent_size >= window.size:
                return
            sent = self._send_some()
            self._items, self._size = self._items[sent:], self._size - sum(map(len, self._items[:sent]))

    def _send_some(self) -> int:
        """Send one message; return the number of its items."""
        items = self._items
        while True:
            try:
                body, content_type, encoding = self._encoder.join(items, feed_context(self._correlation_id, self.index))
                self._feed({PART: ITEMS, INDEX: self.index}, body, content_type, encoding)
            except ContentRejectedError:  # less is accepted than was gathered
                if len(items) == 1:
                    raise
                self._most = max(sum(map(len, items)) // 2, 1)
                items = items[: len(items) // 2]
            else:
                self.index += len(items)
                self._sent.append(len(body))
                self._sent_size += len(body)
                return len(items)

    def acknowledge(self, consumed: int) -> None:
        """Called when the worker says how many messages it has consumed so far."""
        while self._acknowledged < consumed and self._sent:
            self._acknowledged += 1
            self._sent_size -= self._sent.popleft()

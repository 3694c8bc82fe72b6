"""What is sent together: the requests of one turn of the event loop with one routing key, the replies to one session.

A batch is sent at the end of the turn, or earlier once it is full: the server does nothing else while it takes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.transport import Request

__all__ = ["ReplyBatch", "RequestBatch"]

_MOST_TOGETHER, _MOST_BYTES = 64, 256 * 1024


class RequestBatch:
    """Requests, each with whether it wants a reply, and what the script needs of them."""

    __slots__ = ("_size", "arguments", "requests")

    def __init__(self) -> None:
        """Start empty."""
        self.arguments: list[str | bytes | int] = []
        self.requests: list[tuple[Request, bool]] = []
        self._size = 0

    def add(self, request: Request, wants_reply: bool, ttl_ms: int | str, meta: bytes) -> bool:
        """Add a request; return whether the batch is full."""
        self.arguments += (ttl_ms, meta, request.body)
        self.requests.append((request, wants_reply))
        self._size += len(request.body)
        return len(self.requests) >= _MOST_TOGETHER or self._size >= _MOST_BYTES


class ReplyBatch:
    """Replies: the fields of one entry of a stream, and the callers that they are for."""

    __slots__ = ("_size", "fields", "receivers")

    def __init__(self) -> None:
        """Start empty."""
        self.fields: list[str | bytes] = []
        self.receivers: list[bytes] = []
        self._size = 0

    def add(self, receiver: bytes, meta: bytes, body: bytes) -> bool:
        """Add a reply; return whether the batch is full."""
        self.fields += ("m", meta, "b", body)
        self.receivers.append(receiver)
        self._size += len(body)
        return len(self.receivers) >= _MOST_TOGETHER or self._size >= _MOST_BYTES

"""Sends the replies of one request that others follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.streams import OPEN, PART
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core.transport import HeaderValue, IncomingRequest

__all__ = ["PartWriter"]

_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class PartWriter:
    """Sends replies to one request that others follow. The first one says where further messages can be sent."""

    __slots__ = ("_first", "_request", "begun")

    def __init__(self, request: IncomingRequest, first: dict[str, HeaderValue]) -> None:
        """Reply to ``request``; ``first`` are the headers of the first part."""
        self._request = request
        self._first = first
        self.begun = False
        """Whether a part was sent."""

    def write(
        self, headers: dict[str, HeaderValue], body: bytes = b"", content_type: str | None = None,
        content_encoding: str | None = None,
    ) -> asyncio.Future[None] | None:  # fmt: skip
        """Send one part; a future says when the next one may be sent, if that is not at once."""
        if not self.begun:
            self.begun = True
            headers |= self._first
        return self._request.reply_part(_new_tuple(Reply, (body, content_type, content_encoding, headers)))

    def open(self) -> None:
        """Tell the caller that the request has begun, unless a part has."""
        if not self.begun:
            self.write({PART: OPEN})

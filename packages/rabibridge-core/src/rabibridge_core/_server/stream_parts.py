"""Sends the replies of one request that others follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.accept_encoding import as_accepted
from rabibridge_core._protocol.streams import OPEN, PART, part_context
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._codec.joining import ItemEncoder
    from rabibridge_core.transport import HeaderValue, IncomingRequest

__all__ = ["PartWriter", "joined"]

_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


def joined(codec: Codec, encoder: ItemEncoder, request: IncomingRequest, items: Sequence[bytes], index: int) -> Reply:
    """Return a message with items that ``encoder`` has encoded, the first of which has this index, without headers.

    Raises:
        ContentRejectedError: it is too large.
    """
    reply: Reply
    reply = _new_tuple(Reply, (*encoder.join(items, part_context(request.correlation_id, index)), None))
    return reply if reply[2] is None else as_accepted(codec, request, reply)


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
        self.begin(headers)
        return self._request.reply_part(_new_tuple(Reply, (body, content_type, content_encoding, headers)))

    def begin(self, headers: dict[str, HeaderValue]) -> None:
        """Add what the first message says to its headers, unless one was sent."""
        if not self.begun:
            self.begun = True
            headers |= self._first

    def open(self) -> None:
        """Tell the caller that the request has begun, unless a part has."""
        if not self.begun:
            self.write({PART: OPEN})

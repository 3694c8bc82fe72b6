"""Replies without compression, for callers that cannot read zstd and say so in a header of their request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._codec.compression import decompress
from rabibridge_core._protocol.headers import ACCEPT_ENCODING
from rabibridge_core.errors import ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import IncomingRequest, Reply

__all__ = ["as_accepted"]

_ZSTD = "zstd"
_ANY = "*"


def as_accepted(codec: Codec, request: IncomingRequest, reply: Reply, *, must_fit: bool = True) -> Reply:
    """Return a reply in an encoding that its caller reads.

    Args:
        codec: the codec that encoded the reply.
        request: the request; without the header, its caller reads zstd.
        reply: the reply, which may be compressed.
        must_fit: whether a body that is too large without compression is an error, and not sent compressed after all.

    Raises:
        ContentRejectedError: the body is too large without compression.
        SerializationError: there is not enough memory.
    """
    if reply.content_encoding != _ZSTD:
        return reply
    accepted = request.headers.get(ACCEPT_ENCODING)
    if not isinstance(accepted, str):
        return reply
    names = {name.partition(";")[0].strip().lower() for name in accepted.split(",")}
    if _ZSTD in names or _ANY in names:
        return reply
    try:
        body = _without_compression(codec, reply.body)
    except (ContentRejectedError, SerializationError):
        if must_fit:
            raise
        return reply
    # Named, since a reader looks for zstd in a body of no encoding.
    return reply._replace(body=body, content_encoding="identity")


def _without_compression(codec: Codec, body: bytes) -> bytes:
    plain = decompress(body, codec.max_decompressed)
    if len(plain) > codec.max_body:
        raise ContentRejectedError(
            f"the value takes {len(plain)} bytes on the wire without compression, which the caller asks for; more than "
            f"max_body={codec.max_body}"
        )
    return plain

"""Which replies are too large to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core.errors import ContentRejectedError
from rabibridge_redis._resp.wire import META_MAX, headers_size

if TYPE_CHECKING:
    from rabibridge_core.transport import Reply

__all__ = ["reply_refusal"]

_BESIDE_HEADERS = 1024
"""At most so many bytes of the description of a reply are not headers."""


def reply_refusal(reply: Reply, limit: int) -> ContentRejectedError | None:
    """Return why a reply cannot be sent, ``None`` if it can; ``limit`` is the largest body in bytes."""
    if len(reply.body) > limit:
        return ContentRejectedError(too_large("the reply", len(reply.body), limit))
    if reply.headers and (size := headers_size(reply.headers)) > META_MAX - _BESIDE_HEADERS:
        return ContentRejectedError(
            f"the headers of the reply take {size} bytes; at most {META_MAX - _BESIDE_HEADERS} are sent"
        )
    return None

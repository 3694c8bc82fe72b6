"""Copies of requests that a worker makes to count redeliveries, and vouches for with a signature of its own.

A request that has arrived before runs again only if the broker itself says that it delivers it again, which no sender
can make it say. In a copy, a header says that; so the worker that made the copy signs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rabibridge_core._security.guard import ReplayedError
from rabibridge_core._security.signature import SIGNATURE, VOUCHED, Content
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from rabibridge_core._security.guard import Guard
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["came_again", "vouch_for"]

_COUNTED: Final = "rb-deliveries"
_SCOPE: Final = "copy"


def vouch_for(guard: Guard, request: IncomingRequest, queue: str) -> Headers:
    """Return the headers to add to a copy of a request, which goes to ``queue``; empty for an unsigned one."""
    signature = request.headers.get(SIGNATURE)
    if not isinstance(signature, str):
        return {}
    try:
        sealed = guard.seal("copy", request.correlation_id, _content(signature, None), target=queue, encrypt_with="")
    except RabiBridgeError as error:
        guard.refusals.add("copy", f"a copy of a request cannot be signed: {error}")
        return {}
    return {VOUCHED: (sealed.headers or {})[SIGNATURE]}


def came_again(guard: Guard, request: IncomingRequest, queue: str) -> bool:
    """Tell whether the broker delivers a request again, or a copy for which a worker vouches, once for each copy."""
    if not request.redelivered:
        return False
    headers = request.headers
    if _COUNTED not in headers:
        return True  # the flag of the broker
    try:
        content = _content(str(headers.get(SIGNATURE)), headers.get(VOUCHED))
        guard.admit(guard.open("copy", request.correlation_id, content, targets=(queue,)), _SCOPE)
    except (RabiBridgeError, ReplayedError) as error:
        guard.refusals.add("copy", f"nobody vouches for a copy of a request: {error}")
        return False
    return True


def _content(signature: str, vouched: object) -> Content:
    """Return what is signed: the signature of the request stands for the request."""
    return Content(signature.encode(), None, None, {SIGNATURE: vouched} if isinstance(vouched, str) else None)

"""Whose call it is, as far as the broker vouches for the users that messages name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, NAMES_USER

if TYPE_CHECKING:
    from rabibridge_core.transport import IncomingRequest

__all__ = ["sender_of"]


def sender_of(request: IncomingRequest) -> str:
    """Return the user that further messages of a call must come from: those that cancel it, or feed it.

    That is the user of its request; empty: messages that name no user.
    """
    user = request.user
    if user and IDEMPOTENCY_KEY in request.headers and request.headers.get(NAMES_USER) is not True:
        return ""  # a caller of a version that names its user in requests with a key only
    return user

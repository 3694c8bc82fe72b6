"""Requests that an operator sends again: signed anew, since workers drop what they have seen and what has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import RESENT
from rabibridge_core.errors import SignatureError

if TYPE_CHECKING:
    from rabibridge_core._security.guard import Guard
    from rabibridge_core._security.signature import Content

__all__ = ["seal_anew"]


def seal_anew(
    guard: Guard,
    correlation_id: bytes,
    content: Content,
    *,
    reply_address: bytes,
    persistent: bool,
    timeout: float | None,
) -> Content:
    """Return a request as ``guard`` signs it, for the service and the caller that it was signed for.

    It must have a right signature, of any age: nobody gets one for a request that he has forged. One that was encrypted
    is encrypted again.

    Args:
        guard: checks and signs.
        correlation_id: the call.
        content: the request.
        reply_address: where the reply goes.
        persistent: whether the broker stores it.
        timeout: the time that it is given, in seconds; ``None``: what is left of its own.

    Raises:
        SignatureError: its signature is wrong, or its time is up.
        RabiBridgeError: it cannot be signed or encrypted.
    """
    opened = guard.open(
        "request", correlation_id, content, targets=None, reply_address=reply_address, persistent=persistent
    )
    if timeout is None and opened.deadline is not None:
        timeout = opened.deadline / 1000 - guard.rules.wall()
        if timeout <= 0:
            raise SignatureError("its time is up: give it a new one")
    headers = dict(opened.content.headers or {})
    headers.pop(RESENT, None)
    encrypted_with = opened.encrypted_with
    return guard.seal(
        "request",
        correlation_id,
        opened.content._replace(headers=headers),
        target=opened.claims.target,
        reply_address=reply_address,
        persistent=persistent,
        timeout=timeout,
        encrypt_with=(guard.rules.encryption_id or encrypted_with) if encrypted_with else "",
    )

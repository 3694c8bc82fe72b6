"""Signed cancellations: they have no headers, so that the signature follows the correlation id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rabibridge_core._security.signature import CANCEL_PARTS, SIGNATURE, Content

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core._security.guard import Guard

__all__ = ["open_cancel", "sign_cancel"]

_SHORT_STRING_MAX: Final = 255


def sign_cancel(guard: Guard, routing_key: str, correlation_id: bytes) -> bytes:
    """Return what is sent in place of the correlation id of a call to cancel it; empty if that is too long.

    Raises:
        ConfigurationError: there is no key to sign with any more.
    """
    nothing = Content(b"", None, None, None)
    sealed = guard.seal("cancel", correlation_id, nothing, target=routing_key, encrypt_with="")
    cancel = b"%b %b" % (correlation_id, str((sealed.headers or {})[SIGNATURE]).encode())
    return cancel if len(cancel) <= _SHORT_STRING_MAX else b""


def open_cancel(guard: Guard, cancel: bytes, targets: Collection[str]) -> bytes | None:
    """Return the correlation id in what :func:`sign_cancel` has made; ``None`` if it has not made it.

    Raises:
        SignatureError: the signature is wrong.
    """
    correlation_id, *words = cancel.rsplit(b" ", CANCEL_PARTS)
    if len(words) != CANCEL_PARTS:
        return None
    signature = b" ".join(words).decode("ascii", "replace")
    guard.open("cancel", correlation_id, Content(b"", None, None, {SIGNATURE: signature}), targets=targets)
    return correlation_id

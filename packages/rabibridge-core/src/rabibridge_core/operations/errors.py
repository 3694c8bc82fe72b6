"""The error of operations that cannot be carried out."""

from __future__ import annotations

from rabibridge_core.errors import RabiBridgeError

__all__ = ["OperationError"]


class OperationError(RabiBridgeError):
    """An operation was not carried out, or not completely; the text says what is left and what to do."""

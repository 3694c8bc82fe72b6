"""The error of calls that are not sent, since those before have failed."""

from __future__ import annotations

from rabibridge_core.errors._tree import CallError

__all__ = ["CircuitOpenError"]


class CircuitOpenError(CallError):
    """The call was not sent: too many calls of its service have failed, and its circuit breaker is open.

    Attributes:
        retry_after: when the next call is let through as a probe, in seconds from now.
    """

    executed: bool | None = False

    def __init__(
        self, message: str, *, func_name: str = "", correlation_id: str = "", retry_after: float = 0.0
    ) -> None:
        """Store the message, which call it was, and when the next one is let through."""
        self.retry_after = retry_after
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)

"""The call that a handler is processing, and what nested calls inherit from it."""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import RESENT

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["CurrentCall", "current_call", "current_call_var", "inherited_time"]


class CurrentCall:
    """The call that a handler is processing."""

    __slots__ = ("_request", "cancelled", "ends_at", "over", "service")

    def __init__(self, service: str, request: IncomingRequest) -> None:
        """Describe ``request`` of ``service``; created by the engine."""
        self.service = service
        """The name of the service."""
        self.cancelled = False
        """Whether the result is no longer wanted: the caller cancelled the call or is gone, its deadline has passed, or
        this worker has lost its connection or has stopped waiting for the call, because ``drain_timeout`` was over or
        it was told to stop a second time. A worker that is told to stop waits for its calls first: until then it is
        false. A handler that is not async cannot be stopped; it can check this regularly and return early."""
        self.ends_at: float | None = None
        """The deadline on the clock of :func:`time.monotonic`; ``None``: none."""
        self.over = False
        """Whether it was answered or abandoned: nothing is inherited from it then."""
        self._request = request

    @property
    def correlation_id(self) -> str:
        """The caller's id of the call, as it appears in logs; empty if the caller gave none."""
        return self._request.correlation_id.decode("utf-8", "backslashreplace")

    @property
    def time_left(self) -> float | None:
        """The time left to the call, in seconds, never below 0; ``None``: no limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - monotonic())

    @property
    def redelivered(self) -> bool:
        """Whether this call may have been started before.

        It was delivered to a worker before, or its client has lost its connection and sent it again.
        """
        return self._request.redelivered or self._request.headers.get(RESENT) is True

    @property
    def headers(self) -> Headers:
        """The headers of the call."""
        return self._request.headers


current_call_var: ContextVar[CurrentCall | None] = ContextVar("rabibridge_current_call", default=None)
"""The call that the current task or thread is processing; set by the engine."""


def current_call() -> CurrentCall:
    """Return the call that is being processed; for use in a handler, in tasks that it starts, and in its thread.

    Raises:
        LookupError: the code that calls this does not run in a handler.
    """
    call = current_call_var.get()
    if call is None:
        raise LookupError("current_call() was called outside a handler: no call is being processed here")
    return call


def inherited_time() -> float | None:
    """Return the timeout that a call made now inherits, in seconds; ``None``: no limit."""
    call = current_call_var.get()
    return None if call is None or call.over else call.time_left

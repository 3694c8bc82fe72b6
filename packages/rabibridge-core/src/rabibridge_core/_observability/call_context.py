"""What a handler can ask about the call that it is answering, and what nested calls inherit from it."""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["CurrentCall", "current_call", "current_call_var", "inherited_time"]


class CurrentCall:
    """The call that a handler is answering."""

    __slots__ = ("_request", "cancelled", "ends_at", "over", "service")

    def __init__(self, service: str, request: IncomingRequest) -> None:
        """Describe ``request`` of ``service``; made by the engine."""
        self.service = service
        """The name of the service."""
        self.cancelled = False
        """Whether nobody waits for the result any more: the caller cancelled it or is gone, its time is over, or this
        worker has lost its connection or is being stopped. A handler that is not async cannot be stopped; it can look
        at this now and then, and give up."""
        self.ends_at: float | None = None
        """The deadline on the clock of :func:`time.monotonic`, ``None``: no limit."""
        self.over = False
        """Whether it has been answered or given up: nothing is inherited from it then."""
        self._request = request

    @property
    def correlation_id(self) -> str:
        """The caller's name for the call, as it stands in logs; empty where it gave none."""
        return self._request.correlation_id.decode("utf-8", "backslashreplace")

    @property
    def time_left(self) -> float | None:
        """What is left of the caller's time, in seconds, never below 0; ``None``: no limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - monotonic())

    @property
    def redelivered(self) -> bool:
        """Whether another worker may have begun the call before."""
        return self._request.redelivered

    @property
    def headers(self) -> Headers:
        """What else came with the call."""
        return self._request.headers


current_call_var: ContextVar[CurrentCall | None] = ContextVar("rabibridge_current_call", default=None)
"""The call that the running task or thread belongs to; set by the engine."""


def current_call() -> CurrentCall:
    """Return the call that is being answered, in the handler, its tasks, or its thread.

    Raises:
        LookupError: this is not running in a handler.
    """
    call = current_call_var.get()
    if call is None:
        raise LookupError("current_call() was called outside a handler: there is no call being answered here")
    return call


def inherited_time() -> float | None:
    """Return how much of the caller's time a call made now inherits, in seconds; ``None``: no limit."""
    call = current_call_var.get()
    return None if call is None or call.over else call.time_left

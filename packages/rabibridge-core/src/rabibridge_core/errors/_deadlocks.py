"""The error of a call that could only wait for itself."""

from __future__ import annotations

from rabibridge_core.errors._tree import CallError

__all__ = ["DeadlockError"]


class DeadlockError(CallError):
    """A function has called a service of which its own chain of calls holds every place: it was not sent.

    Each call of the chain waits for the next one, and keeps its place of ``fetch_size`` meanwhile. So the call could
    not start before its deadline. With a larger ``fetch_size``, or more workers, it can: there must be a place for each
    level.

    Attributes:
        chain: the names of the services, from the call that began the chain, as far as that is known, to the refused
            one.
    """

    executed: bool | None = False

    def __init__(
        self, message: str, *, func_name: str = "", correlation_id: str = "", chain: tuple[str, ...] = ()
    ) -> None:
        """Store the chain."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.chain = chain

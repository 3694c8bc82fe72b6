"""Why a worker process could not be started."""

from __future__ import annotations

__all__ = ["WorkerStartError"]


class WorkerStartError(Exception):
    """A worker has ended before it was ready, or was not ready in time.

    Attributes:
        may_pass: whether the next attempt may succeed without a change of program or configuration.
        error: the name of the class of the error that the worker has reported; empty: it has reported none.
        trace: the traceback of that error, if it is of use.
    """

    def __init__(self, text: str, *, may_pass: bool = True, error: str = "", trace: str = "") -> None:
        """Store why."""
        super().__init__(text)
        self.may_pass = may_pass
        self.error = error
        self.trace = trace

"""Errors of calls that a worker could run, and does not."""

from __future__ import annotations

from rabibridge_core.errors._tree import CallTimeoutError

__all__ = ["DeadlineTooShortError"]


class DeadlineTooShortError(CallTimeoutError):
    """A worker has refused the call, as it could not end in the time that it had left: it did not run.

    It comes before the timeout of the call has passed. No recent run of the service on that worker took as little time
    as was left, so that sending the call again makes sense only with a longer timeout.
    """

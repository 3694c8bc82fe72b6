"""Refuses calls right before their function would be called, if that would be a run for nothing.

The reply says that the call did not run. To peers that do not know the header :data:`REFUSAL` it is a request that the
worker must not run, which they know from before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.remote_errors import DEADLINE_TOO_SHORT
from rabibridge_core._server.exceptions import AdmissionRefusedError
from rabibridge_core.errors import DeadlineTooShortError

if TYPE_CHECKING:
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.repeated_calls import RepeatedCalls
    from rabibridge_core._server.run_times import RunTimes
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["check_time_left", "may_refuse"]


def may_refuse(schema: ServiceSchema) -> bool:
    """Tell whether a service may refuse calls for their deadlines.

    Not so for streams and uploads: what they have sent until their deadline is of use.
    """
    return schema.deadline_admission is not False and not schema.queue.streams


def check_time_left(active: ActiveRequest, times: RunTimes, repeated: RepeatedCalls, now: float) -> None:
    """Refuse a call whose function cannot return in the time that is left.

    A notification is not refused: nobody waits for it, and what it does may be of use after its deadline. Nor is a call
    that is delivered again: it may have run in part, so that it would not be true that it did not run. No other request
    with the idempotency key of the call gets its refusal.

    Raises:
        AdmissionRefusedError: it cannot.
    """
    assert active.ends_at is not None
    time_left = active.ends_at - now
    if active.request.wants_reply and not active.request.redelivered and times.refuses(time_left, now):
        repeated.end(active)
        raise AdmissionRefusedError(DEADLINE_TOO_SHORT) from DeadlineTooShortError(
            f"it has {max(time_left, 0.0):.3g} s left, and no recent run of {active.service!r} on this worker took "
            f"less than {times.least:.3g} s",
            func_name=active.service,
        )

"""What a worker counts for one service: how its calls ended, how long they took, and the last failures.

It is counted for each call, so that it costs next to nothing: whole numbers, and a list of them for the durations.
"""

from __future__ import annotations

import time
from collections import deque
from math import frexp
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.remote_errors import DEADLINE_TOO_SHORT, remote_traceback
from rabibridge_core._reporting.error_text import block, class_names, message_of, printable
from rabibridge_core._server.exceptions import (
    AdmissionRefusedError,
    ArgumentsRefusedError,
    NotStartedError,
    TooLateError,
)
from rabibridge_core.errors import CallError, ConnectionLostError, RemoteExecutionError, ServiceError
from rabibridge_core.introspection.calls import CallCounts, FailureRecord
from rabibridge_core.introspection.latency import BUCKETS, OFFSET, SHORTEST, Latency

if TYPE_CHECKING:
    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._server.active_request import ActiveRequest, StopReason
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.plugins.observers import Outcome

__all__ = ["ServiceStatistics"]

_KEPT = 8
"""How many kinds of failures are kept."""
_MESSAGE_MAX = 500
_TRACEBACK_MAX = 4000
_TYPE_MAX = 200
_SAMPLES = 14
"""How many samples are kept, one for each maintenance: more than a minute's worth."""
_SHORT, _LONG = 9.0, 55.0
"""How old the samples must be at least that rates are computed with, in seconds."""


class ServiceStatistics:
    """The statistics of one service on one worker. They survive a change of the service, but not its removal."""

    __slots__ = (
        "_before",
        "_failures",
        "_older",
        "_samples",
        "_turned_at",
        "buckets",
        "cancelled",
        "dead",
        "declared",
        "expired",
        "failed",
        "in_child",
        "raises",
        "refused",
        "refused_late",
        "refused_waiting",
        "requeued",
        "seconds",
        "succeeded",
        "told",
    )

    def __init__(self) -> None:
        """Nothing has been counted yet."""
        self.buckets = [0] * BUCKETS
        self.seconds = 0.0
        self.succeeded = self.failed = self.declared = self.refused = 0
        self.expired = self.cancelled = self.requeued = self.dead = 0
        self.refused_late = self.refused_waiting = 0
        self.raises: tuple[type[ServiceError], ...] = ()
        """The errors that the service declares."""
        self.in_child = False
        """Whether child processes run it: then they report what was raised."""
        self.told: RemoteTraceback = "full"
        """What callers are told of exceptions: whoever may ask a worker is told no more."""
        self._failures: dict[tuple[object, ...], FailureRecord] = {}
        self._turned_at = monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._turned_at, 0)], maxlen=_SAMPLES)
        self._older = self._before = Latency()

    def use(self, schema: ServiceSchema) -> None:
        """Count for this version of the service from now on."""
        self.raises, self.told = schema.raises, schema.remote_traceback or "full"
        self.in_child = schema.executor == "process"

    @property
    def ended(self) -> int:
        """How many calls have ended."""
        return (
            self.succeeded + self.failed + self.declared + self.refused
            + self.expired + self.cancelled + self.requeued + self.dead
        )  # fmt: skip

    def ended_call(self, active: ActiveRequest, error: BaseException | None, ran: bool | None) -> Outcome:
        """Count a call that has ended, and return how: each one, so that it must be quick.

        Args:
            active: the call.
            error: why there is no result.
            ran: whether its handler was called; ``None``: it got the reply to another call with its idempotency key.
        """
        seconds = monotonic() - active.received_at
        mantissa, exponent = frexp(seconds + SHORTEST)
        self.buckets[(exponent << 3) + int(mantissa * 16.0) + OFFSET] += 1  # as bucket_of() does it
        self.seconds += seconds
        if error is None and active.stop_reason is None:
            self.succeeded += 1
            return "succeeded"
        return self._ended_otherwise(error, active.stop_reason, ran)

    def _ended_otherwise(self, error: BaseException | None, reason: StopReason | None, ran: bool | None) -> Outcome:
        if reason is not None and reason != "overran":
            return self.stopped(reason)
        assert error is not None
        cls = type(error)
        if cls is TooLateError:
            return self.stopped("expired")
        if ran is False and cls in (RemoteExecutionError, ConnectionLostError):  # it was delivered too often
            self.died(error)
            return "dead"
        if ran is False or cls is ArgumentsRefusedError or cls is NotStartedError or self._reports_refusal(error, ran):
            self.refused += 1
            if cls is AdmissionRefusedError and error.kind == DEADLINE_TOO_SHORT:  # type: ignore[attr-defined]
                self.refused_late += 1
            elif cls is AdmissionRefusedError:
                self.refused_waiting += 1
            if ran is not None:
                self.record("refused", error if error.__cause__ is None else error.__cause__)
            return "refused"
        if self.raises and self._is_declared(error, cls):
            self.declared += 1
            return "declared"
        self.failed += 1
        if ran is not None:  # else it was kept when the other call failed
            self.record("failed", error)
        return "failed"

    def _reports_refusal(self, error: BaseException, ran: bool | None) -> bool:
        """Tell whether an earlier call, or a child process, reports that the handler did not run."""
        return (ran is None or self.in_child) and issubclass(type(error), CallError) and error.executed is False  # type: ignore[attr-defined]

    def died(self, error: BaseException) -> None:
        """Count a call that was delivered too often to be run once more."""
        self.dead += 1
        self.record("dead", error)

    def _is_declared(self, error: BaseException, cls: type[BaseException]) -> bool:
        if issubclass(cls, self.raises):
            return True
        # What a child process has raised arrives as this, with the code.
        return cls is RemoteExecutionError and any(error.code == each.code for each in self.raises)  # type: ignore[attr-defined]

    def stopped(self, reason: StopReason) -> Outcome:
        """Count a call that was stopped, and return how it ended."""
        if reason == "expired":
            self.expired += 1
            return "expired"
        if reason == "waited":
            self.refused += 1
            self.refused_waiting += 1
            return "refused"
        if reason == "cancelled":
            self.cancelled += 1
            return "cancelled"
        self.requeued += 1
        return "requeued"

    def record(self, kind: str, error: BaseException) -> None:
        """Keep what was raised; it raises nothing itself."""
        try:
            self._record(kind, error)
        except BaseException:  # noqa: BLE001 - the classes of users may raise anything when they are asked
            self._keep(
                (kind, id(type(error))), FailureRecord(kind, "an exception that cannot be described", "", count=0)
            )

    def _record(self, kind: str, error: BaseException) -> None:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        place = None if traceback is None else (traceback.tb_frame.f_code, traceback.tb_lineno)
        key = (kind, id(type(error)), place)
        if key in self._failures:
            self._keep(key, self._failures[key])
            return
        name = printable(class_names(type(error))[0])[:_TYPE_MAX]
        message = printable(message_of(error)[:_MESSAGE_MAX])[:_MESSAGE_MAX]
        if self.told == "none":
            name, message = "", "the service tells nobody why (remote_traceback='none'); the log of the worker does"
        bare = place is None or self.told in ("message", "none")
        text = "" if bare else block(remote_traceback(error, only_user=self.told == "user"))
        if len(text) > _TRACEBACK_MAX:
            text = f"[...]{text[5 - _TRACEBACK_MAX :]}"
        self._keep(key, FailureRecord(kind, name, message, text, count=0, first_at=time.time()))

    def _keep(self, key: tuple[object, ...], found: FailureRecord) -> None:
        now = time.time()
        self._failures.pop(key, None)
        self._failures[key] = FailureRecord(
            found.kind, found.type, found.message, found.traceback, found.count + 1, found.first_at or now, now
        )  # the latest at the end
        if len(self._failures) > _KEPT:
            del self._failures[next(iter(self._failures))]

    @property
    def failures(self) -> tuple[FailureRecord, ...]:
        """The last failures, the latest first."""
        return tuple(reversed(self._failures.values()))

    def counts(self, broadcasts: int = 0) -> CallCounts:
        """How many calls have ended, and how."""
        return CallCounts(
            self.succeeded, self.failed, self.declared, self.refused,
            self.expired, self.cancelled, self.requeued, self.dead, broadcasts,
            self.refused_late, self.refused_waiting,
        )  # fmt: skip

    def latency(self) -> Latency:
        """How long calls took."""
        return Latency({bucket: count for bucket, count in enumerate(self.buckets) if count}, self.seconds)

    def recent(self) -> Latency:
        """How long the calls of the last one to two minutes took."""
        return self.latency() - self._older

    def sample(self) -> None:
        """Called every few seconds: remember how many calls have ended by now."""
        now = monotonic()
        self._samples.append((now, self.ended))
        if now - self._turned_at >= 60.0:
            self._turned_at = now
            self._older, self._before = self._before, self.latency()

    def rate(self, *, long: bool = False) -> float:
        """Return how many calls have ended in one second, lately."""
        now, ended = monotonic(), self.ended
        least = _LONG if long else _SHORT
        then, before = next(
            (sample for sample in reversed(self._samples) if now - sample[0] >= least), self._samples[0]
        )
        return (ended - before) / (now - then) if now > then else 0.0

"""What has become of the calls of a service: how many ended how, and the last failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from rabibridge_core.introspection.reading import number, text, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CallCounts", "FailureRecord"]


@dataclass(frozen=True, slots=True)
class CallCounts:
    """How many calls have ended how on a worker, since the service was first started there.

    Every call that a worker has received and is done with is counted once. What a full queue refuses never reaches a
    worker and is not counted here: its caller gets ``QueueFullError``.

    Attributes:
        succeeded: the function returned, and its result was sent; or the answer to a repeated call was sent again.
        failed: the function raised, its result could not be sent, or its child process died.
        declared: the function raised an error that its registration lists in ``raises``: a result of another kind.
        refused: the call did not run: arguments that do not fit, a body that cannot be read, a function that could
            not be started, or a call that would have run for nothing.
        expired: the time of the call was over before it was done.
        cancelled: its caller cancelled it, or was gone.
        requeued: it was given back to the queue, by a worker that stopped or lost its connection.
        dead: it was dead-lettered, or was redelivered to an at-most-once service.
        broadcasts: broadcasts that were run; they are counted nowhere else.
        refused_late: of those that were refused, how many could not have ended in the time that they had left.
        refused_waiting: how many of them had waited for longer than ``max_wait``.
    """

    succeeded: int = 0
    failed: int = 0
    declared: int = 0
    refused: int = 0
    expired: int = 0
    cancelled: int = 0
    requeued: int = 0
    dead: int = 0
    broadcasts: int = 0
    refused_late: int = 0
    refused_waiting: int = 0

    @property
    def calls(self) -> int:
        """All calls that have ended, however they did."""
        return sum(getattr(self, name) for name in _CALLS)

    @property
    def errors(self) -> int:
        """Those that ended as they should not: failed, expired, dead."""
        return self.failed + self.expired + self.dead

    def __add__(self, other: CallCounts) -> CallCounts:
        """Add the counts of two workers."""
        return CallCounts.summed((self, other))

    def __sub__(self, before: CallCounts) -> CallCounts:
        """Return what was added since earlier counts of the same worker; all of it, if it has started anew."""
        parts = {name: getattr(self, name) - getattr(before, name) for name in _NAMES}
        return self if min(parts.values()) < 0 else CallCounts(**parts)

    @staticmethod
    def summed(all_of_them: Iterable[CallCounts]) -> CallCounts:
        """Add any number of counts."""
        sums = dict.fromkeys(_NAMES, 0)
        for one in all_of_them:
            for name in _NAMES:
                sums[name] += getattr(one, name)
        return CallCounts(**sums)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> CallCounts:
        """Make it again from JSON; what cannot be read is 0."""
        known = value if isinstance(value, Mapping) else {}
        return cls(**{name: whole(known.get(name)) for name in _NAMES})


_NAMES = tuple(field.name for field in fields(CallCounts))
_CALLS = tuple(name for name in _NAMES if name not in ("broadcasts", "refused_late", "refused_waiting"))


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """One of the last failures of a service on one worker. Equal ones are counted in one record.

    Failures are equal if they have the same type and were raised at the same line. Texts come from the code of the
    service and may hold anything: escape them before they are shown in a page.

    Attributes:
        kind: ``"failed"``, ``"refused"``, ``"dead"``: as in :class:`CallCounts`.
        type: the qualified name of the exception, such as ``"builtins.ValueError"``.
        message: its text, at most 500 characters; of the first of them.
        traceback: where it was raised, at most 4,000 characters; of the first of them. Empty if nothing was raised.
        count: how many there were.
        first_at: when the first one was, in seconds since 1970 by the clock of the worker.
        last_at: when the last one was.
        worker: the name of the worker.
    """

    kind: str
    type: str
    message: str
    traceback: str = ""
    count: int = 1
    first_at: float = 0.0
    last_at: float = 0.0
    worker: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object, worker: str = "") -> FailureRecord | None:
        """Make it again from JSON; ``None``: it cannot be read."""
        if not isinstance(value, Mapping):
            return None
        return cls(
            kind=text(value.get("kind"), 32),
            type=text(value.get("type"), 1024),
            message=text(value.get("message"), 500),
            traceback=text(value.get("traceback"), 4000),
            count=whole(value.get("count")),
            first_at=number(value.get("first_at")),
            last_at=number(value.get("last_at")),
            worker=text(value.get("worker"), 200) or worker,
        )

"""What the calls of a soak are, and how each may end that meets a fault."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rabibridge import CallTimeoutError, ConnectionLostError, NoRouteError, QueueFullError, StreamError
from tests.chaos.ledger import ECHO, KEYED, LASTING, PLENTY, SAFE, THREAD, WORK, Plan

__all__ = ["BASIC", "BOUNDED_STREAMS", "ERRORS", "NOWHERE", "PLANS", "SERVICES", "SLOW", "STREAMS", "StreamPlan"]

NOWHERE = Plan("nowhere", timeout=0.02)
SLOW = Plan("work", (5.0, 5.0))

# Calls that work for long keep the processors half idle: how many end in a second then tells of the calls, and not of
# what else runs on this machine.
_PATIENT = tuple(
    replace(plan, seconds=(0.1, 1.0)) for plan in (WORK, SAFE, KEYED, LASTING, replace(THREAD, seconds=(0.1, 1.0)))
)
_ONCE = Plan("once", (0.05, 0.5), timeout=5.0, at_most_once=True)
_TIGHT = (Plan("tight", (0.1, 0.6)), Plan("tight_once", (0.1, 0.6), at_most_once=True))
_SHORT = tuple(
    replace(plan, timeout=seconds)
    for plan in (ECHO, *_PATIENT, _ONCE, *_TIGHT)
    for seconds in (1.0, 2.0, 3.0, 5.0)
)  # fmt: skip
BASIC = (ECHO, *_PATIENT, _ONCE, *_TIGHT)
"""One plan for each way in which a call is made."""
PLANS = (*_SHORT, ECHO, *_PATIENT)
"""What callers choose from: six of seven calls have 1 to 5 s, the others must have their result."""


def _ends(plan: Plan) -> tuple[type[BaseException], ...]:
    ends: list[type[BaseException]] = []
    if not plan.idempotent:
        ends.append(ConnectionLostError)
    if plan.timeout != PLENTY or plan.at_most_once:
        ends.append(CallTimeoutError)
    if plan.service.startswith("tight"):
        ends += [QueueFullError, CallTimeoutError]
    return tuple(ends)


ERRORS = {plan: _ends(plan) for plan in (*PLANS, *BASIC, SLOW)} | {
    NOWHERE: (NoRouteError, CallTimeoutError, ConnectionLostError)
}
"""How calls may end that meet a fault; all others must have their result."""


@dataclass(frozen=True)
class StreamPlan:
    """A kind of call that sends or feeds a stream.

    Attributes:
        service: what is called; ``store`` and ``converse`` are fed.
        count: how many items there are.
        timeout: for the whole, in seconds.
        pause: how long the reader takes for each item, so that it uses up what it allows ahead of it.
        leaves: whether the reader leaves after half of the items.
        errors: how it may end besides with all of its items.
    """

    service: str
    count: int
    timeout: float = PLENTY
    pause: float = 0.0
    leaves: bool = False
    errors: tuple[type[BaseException], ...] = (StreamError, ConnectionLostError)

    @property
    def fed(self) -> bool:
        return self.service in ("store", "converse")


_RESUMED = StreamPlan("resumable", 500, errors=())
_BULK = StreamPlan("bulk", 200, pause=0.01)
_WHOLE = (
    StreamPlan("stream", 500), _RESUMED, _BULK, StreamPlan("store", 500), StreamPlan("converse", 500),
)  # fmt: skip
STREAMS = (
    *_WHOLE,
    *(replace(plan, timeout=seconds, errors=(*plan.errors, CallTimeoutError)) for plan in _WHOLE for seconds in (3, 5)),
    replace(_RESUMED, leaves=True),
    replace(_BULK, leaves=True),
)
"""Which streams there are: a resumable one has all of its items, or its time is over."""
BOUNDED_STREAMS = tuple(
    plan if plan.timeout != PLENTY else replace(plan, timeout=8, errors=(*plan.errors, CallTimeoutError))
    for plan in STREAMS
)
"""The same for clients with direct replies, of which workers cannot tell that they are gone: none is long."""

SERVICES = ",".join(dict.fromkeys([plan.service for plan in BASIC] + [plan.service for plan in STREAMS]))

"""What a worker runs now, for its log: every active call with its age, its caller and its stacks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from rabibridge_core._clock import monotonic
from rabibridge_core._observability.stacks import stacks_of
from rabibridge_core._reporting.error_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge_core._observability.stacks import CallStack
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.service import ServiceRunner

__all__ = ["call_id", "caller_of", "described", "stacks_text"]

CALLS_MAX: Final = 100
_ATTEMPTS: Final = 20


def call_id(active: ActiveRequest) -> str:
    """Return the id of a call as logs show it."""
    return printable(active.request.correlation_id.decode("utf-8", "backslashreplace"))[:100]


def caller_of(active: ActiveRequest) -> str:
    """Return what tells callers apart: the user, if it is known, and a digest of the address.

    Whoever knows the address itself and the id of a call could forge its reply.
    """
    digest = hashlib.blake2b(active.request.caller, digest_size=6).hexdigest() if active.request.caller else "unknown"
    return f"{printable(active.user)[:100]} {digest}" if active.user else digest


def stacks_text(stacks: Iterable[CallStack]) -> str:
    """Return stacks as a block of lines."""
    return "\n".join(map(str, stacks)) or "it waits for its turn"


def described(runners: Callable[[], Iterable[ServiceRunner]], running_in: int | None) -> tuple[int, str]:
    """Return how many calls are active, and what is known of each; it may be called from any thread."""
    for _ in range(_ATTEMPTS):
        try:
            actives = [active for runner in runners() for active in runner.all_active()]
        except RuntimeError:  # they changed meanwhile, in the thread of the event loop
            continue
        return len(actives), _running_text(actives, running_in)
    return 0, "the calls change too fast"


def _running_text(actives: list[ActiveRequest], running_in: int | None) -> str:
    """Return what a worker runs, the oldest call first, as a block of lines; at most 100 calls.

    Args:
        actives: its active requests.
        running_in: the thread of the event loop, if it is blocked and this is called from another one.
    """
    now = monotonic()
    blocks = []
    for active in sorted(actives, key=lambda one: one.received_at)[:CALLS_MAX]:
        left = "no deadline" if active.ends_at is None else f"{active.ends_at - now:.1f} s left"
        head = (
            f"{printable(active.service)} {call_id(active)}: for {now - active.received_at:.1f} s, {left}, "
            f"attempt {active.attempt}, caller {caller_of(active)}"
        )
        text = stacks_text(stacks_of(active, active.task, running_in=running_in))
        blocks.append("\n".join([head, *(f"  {line}" for line in text.split("\n"))]))
    if len(actives) > CALLS_MAX:
        blocks.append(f"and {len(actives) - CALLS_MAX} more")
    return "\n".join(blocks)

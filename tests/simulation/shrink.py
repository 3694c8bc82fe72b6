"""Makes a plan that fails smaller: fewer faults, fewer calls, and calls that do less."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.simulation.run import run_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulation.plan import Plan
    from tests.simulation.run import Outcome

__all__ = ["shrunk"]


def shrunk(failed: Outcome, *, tries: int = 300, run: Callable[[Plan], Outcome] = run_plan) -> Outcome:
    """Return the smallest failure of the same kind that is found by at most so many runs."""
    best = failed
    progress = True
    while progress:
        progress = False
        for plan in _smaller(best.plan):
            if tries <= 0:
                return best
            tries -= 1
            outcome = run(plan)
            if outcome.kinds & failed.kinds:
                best, progress = outcome, True
                break
    return best


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Yield plans with less in them, those with much less first."""
    for name in ("faults", "calls"):
        whole: tuple[Any, ...] = getattr(plan, name)
        size = len(whole)
        while size:
            for start in range(0, len(whole), size):
                rest = whole[:start] + whole[start + size :]
                if rest or name == "faults":
                    yield _changed(plan, name, rest)
            size //= 2
    for name, calm in (("shuffle", False), ("start", 0.0), ("slots", False), ("max_pending", 64)):
        if getattr(plan, name) != calm:
            yield _changed(plan, name, calm)
    for index, call in enumerate(plan.calls):
        for calmer in (
            replace(call, cancel_after=None), replace(call, options={}), replace(call, how="ok"),
            replace(call, count=call.count // 2), replace(call, seconds=0.0),
        ):  # fmt: skip
            if calmer != call:
                yield replace(plan, calls=(*plan.calls[:index], calmer, *plan.calls[index + 1 :]))


def _changed(plan: Plan, name: str, value: Any) -> Plan:
    changes: dict[str, Any] = {name: value}
    return replace(plan, **changes)

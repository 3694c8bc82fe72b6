"""RabiBridge's targets under overload, compared with the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.overload.criticality import BATCH, INTERACTIVE, SLOWER, slower
from benchmarks.overload.deadlines import LOAD, WASTED
from benchmarks.overload.terms import BOUND, MAX_WAIT
from benchmarks.overload.waits import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.overload.cell import Cell
    from benchmarks.overload.criticality import Shared
    from benchmarks.overload.deadlines import MixedDeadlines
    from benchmarks.overload.waits import Waits

GOOD_SHARE = 0.95
LATENCY = 1.2 * BOUND
REFUSAL = 0.020


@dataclass(frozen=True)
class Target:
    """One target, and the worst measured value."""

    text: str
    limit: str
    measured: str
    load: float
    """The load at which it was measured."""
    reached: bool


def targets(
    cells: Iterable[Cell],
    shared: Mapping[str, Sequence[Shared]] | None = None,
    mixed: Mapping[str, MixedDeadlines] | None = None,
    waits: Mapping[str, Waits] | None = None,
) -> list[Target]:
    """Return each target with the worst figure over all loads that have one.

    Args:
        cells: the runs of all contenders.
        shared: the rounds in which two classes share a service.
        mixed: the service whose callers have different timeouts.
        waits: the service whose capacity changes.
    """
    return [*_of_loads(cells), *_of_classes(shared or {}), *_of_deadlines(mixed or {}), *_of_waits(waits or {})]


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.inf


def _of_waits(waits: Mapping[str, Waits]) -> list[Target]:
    if not waits:
        return []
    bounded, counted = waits.values()
    p99, gained = bounded.wait.get("p99", 0.0), _ratio(bounded.figures.good, counted.figures.good)
    text = f"99th percentile of the wait with max_wait={MAX_WAIT:g}, while the capacity changes"
    return [
        Target(text, f"below {LONGEST * 1e3:.0f} ms", f"{p99 * 1e3:.0f} ms", LOAD, p99 < LONGEST),
        Target(
            "good results then, against those with a bound in calls",
            "at least 0.98 x",
            f"{gained:.2f} x",
            LOAD,
            gained >= 0.98,
        ),
    ]


def _of_deadlines(mixed: Mapping[str, MixedDeadlines]) -> list[Target]:
    if not mixed:
        return []
    refused, run = (one.figures for one in mixed.values())
    share, gained = refused.wasted_share, _ratio(refused.good, run.good)
    return [
        Target(
            "wasted runs with timeouts of mixed length", f"below {WASTED:.0%}", f"{share:.2%}", LOAD, share < WASTED
        ),
        Target(
            "good results then, against those without deadline admission",
            "at least 1.00 x",
            f"{gained:.2f} x",
            LOAD,
            gained >= 1.0,
        ),
    ]


def _of_classes(shared: Mapping[str, Sequence[Shared]]) -> list[Target]:
    together = shared.get("with batch calls, in classes", ())
    if not together:
        return []
    ratio, lost = slower(shared["alone"], together), max(one.lost for one in together)
    text = f"99th percentile of interactive calls, with batch calls at {BATCH:g} x against alone"
    lost_text = "interactive calls without a result in time, in the worst round"
    return [
        Target(text, f"below {SLOWER:g} x", f"{ratio:.2f} x", INTERACTIVE, ratio < SLOWER),
        Target(lost_text, "none", f"{lost:.2f}/s", INTERACTIVE, lost == 0),
    ]


def _of_loads(cells: Iterable[Cell]) -> list[Target]:
    ours = [cell for cell in cells if cell.contender == "ours"]
    if not ours:
        return []
    worst = min(ours, key=lambda cell: cell.figures.share)
    found = [
        Target(
            "good results, as a share of the offered load or the capacity, whichever is less",
            f"at least {GOOD_SHARE:.0%}",
            f"{worst.figures.share:.1%}",
            worst.load,
            worst.figures.share >= GOOD_SHARE,
        )
    ]
    if answered := [cell for cell in ours if cell.figures.latency]:
        worst = max(answered, key=lambda cell: cell.figures.latency["p99"])
        p99 = worst.figures.latency["p99"]
        text = "99th percentile of the latency of accepted calls"
        limit = f"below {LATENCY * 1e3:.0f} ms, 20 % above the bound of {BOUND * 1e3:.0f} ms"
        found.append(Target(text, limit, f"{p99 * 1e3:.0f} ms", worst.load, p99 < LATENCY))
    if refused := [cell for cell in ours if cell.figures.refusal]:
        worst = max(refused, key=lambda cell: cell.figures.refusal["p50"])
        p50 = worst.figures.refusal["p50"]
        limit = f"below {REFUSAL * 1e3:.0f} ms"
        found.append(Target("median time to a refusal", limit, f"{p50 * 1e3:.1f} ms", worst.load, p50 < REFUSAL))
    worst = max(ours, key=lambda cell: cell.figures.wasted_share)
    share = worst.figures.wasted_share
    found.append(
        Target("wasted runs of the handler", f"below {WASTED:.0%}", f"{share:.2%}", worst.load, share < WASTED)
    )
    return found

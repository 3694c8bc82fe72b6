"""Measures one service that interactive and batch callers share: with classes of criticality, and in one queue."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.overload.cell import Program
from benchmarks.overload.figures import Figures, figures
from benchmarks.overload.terms import CAPACITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.broker import Broker

INTERACTIVE, BATCH = 0.5, 10.0
"""Offered loads, as multiples of the capacity."""
SLOWER = 1.5
"""How many times as long the 99th percentile of interactive calls may be with batch calls as alone."""
ROUNDS = 3
"""The arrangements are measured in turn, so often, and the median counts: other programs may disturb one round."""
ARRANGEMENTS: dict[str, tuple[str, ...]] = {
    "alone": ("interactive",),
    "with batch calls, in classes": ("interactive", "batch"),
    "with batch calls, in one queue": ("work", "work"),
}
"""The services that the interactive client calls, and the batch client."""


@dataclass(frozen=True)
class Shared:
    """The figures of one round."""

    interactive: Figures
    batch: Figures | None

    @property
    def lost(self) -> float:
        """Interactive calls per second without a result in time."""
        return self.interactive.offered - self.interactive.good


def run(broker: Broker, arrangement: str, seconds: float) -> Shared:
    """Call one service from a client process for each class."""
    url, services = broker.fresh_vhost(), ARRANGEMENTS[arrangement]
    rates = (INTERACTIVE * CAPACITY, BATCH * CAPACITY)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Program("server", "ours", url, services[0]))
        server.read()
        clients = [stack.enter_context(Program("client", "ours", url, service)) for service in services]
        for client in clients:
            client.read()
        for client, rate, name in zip(clients, rates, ("interactive", "batch"), strict=False):
            client.tell(rate=rate, seconds=seconds, seed=name)
        interactive, *others = [figures(client.read(), [], seconds) for client in clients]
        return Shared(interactive, others[0] if others else None)


def median(rounds: Sequence[Shared]) -> Shared:
    """Return the round with the median 99th percentile of interactive calls."""
    ranked = sorted(rounds, key=lambda one: one.interactive.latency.get("p99", float("inf")))
    return ranked[len(ranked) // 2]


def slower(alone: Sequence[Shared], together: Sequence[Shared]) -> float:
    """Return how many times as long the 99th percentile of interactive calls is together as alone: the median."""
    return statistics.median(
        two.interactive.latency["p99"] / one.interactive.latency["p99"]
        for one, two in zip(alone, together, strict=True)
    )

"""Throughput and memory before the first fault and after the last one, under the same load for the same time.

Other programs disturb a machine for seconds at a time. So the load runs in several rounds of short windows, and medians
are compared. A window counts the results of calls; what a process holds is looked at after each round, when nothing is
under way and the ledger is empty.

Processes that lived from one measurement to the other are compared with themselves. Workers that have come for others
had their first load after the last fault, as much as the workers at the beginning had before theirs was measured; they
are compared with the median of those.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from dataclasses import dataclass, field
from statistics import median

__all__ = ["Comparison", "Figures", "resident"]

ENOUGH_THROUGHPUT = 0.9
MOST_MEMORY = 1.1


@dataclass
class Figures:
    """What was measured on one side of the faults.

    Attributes:
        rates: results per second, of each window.
        client: memory of the client's process in bytes, after each round.
        workers: that of each worker, by its process id.
    """

    rates: list[float] = field(default_factory=list)
    client: list[int] = field(default_factory=list)
    workers: dict[int, list[int]] = field(default_factory=dict)

    def worker(self, pid: int) -> float:
        return median(self.workers[pid])


@dataclass
class Comparison:
    """The figures after the last fault as shares of those before the first one.

    Attributes:
        kept: of workers that lived through all faults, compared with themselves.
        replaced: of workers that came later, compared with the median of those at the beginning.
    """

    before: Figures
    after: Figures
    rate: float
    client: float
    kept: list[float]
    replaced: list[float]

    @classmethod
    def of(cls, before: Figures, after: Figures) -> Comparison:
        usual = median(before.worker(pid) for pid in before.workers)
        return cls(
            before,
            after,
            rate=median(after.rates) / median(before.rates),
            client=median(after.client) / median(before.client),
            kept=[after.worker(pid) / before.worker(pid) for pid in after.workers if pid in before.workers],
            replaced=[after.worker(pid) / usual for pid in after.workers if pid not in before.workers],
        )

    @property
    def missed(self) -> list[str]:
        """What is worse than it may be."""
        memory = {"client": [self.client], "kept workers": self.kept, "new workers": self.replaced}
        missed = [f"memory of {what}" for what, shares in memory.items() if max(shares, default=0) > MOST_MEMORY]
        return missed + ["throughput"] * (self.rate < ENOUGH_THROUGHPUT)

    def __str__(self) -> str:
        missed = f", MISSED: {', '.join(self.missed)}" if self.missed else ""
        before, after = median(self.before.rates), median(self.after.rates)
        return (
            f"throughput {_percent(self.rate)} ({before:.0f}/s, then {after:.0f}/s), "
            f"memory of the client {_percent(self.client)}, of kept workers {_percents(self.kept)}, "
            f"of new workers {_percents(self.replaced)}{missed}"
        )

    def lines(self) -> list[str]:
        """Return what was measured, in full."""
        lines: list[str] = []
        for when, figures in (("before", self.before), ("after", self.after)):
            rates = " ".join(f"{rate:.0f}" for rate in figures.rates)
            lines.append(f"{when}: results per second in each window: {rates}")
            lines.append(f"{when}: MiB of the client: {_mebibytes(figures.client)}")
            lines += [f"{when}: MiB of worker {pid}: {_mebibytes(sizes)}" for pid, sizes in figures.workers.items()]
        return lines


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _percents(shares: list[float]) -> str:
    return " and ".join(map(_percent, shares)) or "(none)"


def _mebibytes(sizes: list[int]) -> str:
    return " ".join(f"{size / 2**20:.1f}" for size in sizes)


def resident() -> int:
    """Return how much memory this process holds in bytes, once what the ledger has used is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as figures:
        return int(figures.read().split()[1]) * resource.getpagesize()

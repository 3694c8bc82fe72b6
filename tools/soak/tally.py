"""How the calls and streams of a soak have ended, and what was measured: its last line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.ledger import Ledger
    from tools.soak.figures import Comparison
    from tools.soak.streams import StreamEntry

__all__ = ["Tally"]


@dataclass
class Tally:
    """How the calls of a soak have ended.

    Attributes:
        rounds: after how many rounds with faults every call was checked.
        ends: how many calls with which error.
        streams: how many streams there were.
        complete: how many of them have ended with all of their items.
        left: how many their readers left in the middle.
        stream_ends: how many streams with which error.
        broken: how many broke which promise.
        comparison: what was measured before the first fault and after the last one; None: not measured.
    """

    rounds: int = 0
    calls: int = 0
    results: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    complete: int = 0
    left: int = 0
    stream_ends: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    left_behind: int = 0
    comparison: Comparison | None = None

    def add(self, ledger: Ledger, streams: Iterable[StreamEntry], broken: list[str]) -> None:
        self.calls += len(ledger.entries)
        self.results += ledger.results
        self.ends += ledger.errors()
        for entry in streams:
            self.streams += 1
            self.complete += entry.complete
            self.left += entry.left
            if entry.error is not None:
                self.stream_ends[type(entry.error).__name__] += 1
        self.broken += Counter(next((kind for kind in ("lost", "hung") if what.startswith(kind)), "wrong")
                               for what in broken)  # fmt: skip

    @property
    def kept(self) -> bool:
        """Whether every promise was kept so far."""
        return not self.broken and not self.left_behind

    @property
    def clean(self) -> bool:
        """Whether every promise was kept, and what was measured is as good after the faults as before."""
        return self.kept and (self.comparison is None or not self.comparison.missed)

    def __str__(self) -> str:
        broken = ", ".join(f"{kind} {self.broken[kind]}" for kind in ("lost", "wrong", "hung"))
        left = f", left something behind {self.left_behind}" if self.left_behind else ""
        return (
            f"calls {self.calls}, results {self.results}{_listing(self.ends)}, "
            f"streams {self.streams}, complete {self.complete}, left by their readers {self.left}"
            f"{_listing(self.stream_ends)}, {broken}{left}, rounds {self.rounds}, "
            f"{self.comparison or 'throughput and memory not compared'}"
        )


def _listing(ends: Counter[str]) -> str:
    return "".join(f", {name} {count}" for name, count in sorted(ends.items()))

"""Plants each known mistake, and says after how many seeds the simulator has found it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.simulation.planted import MISTAKES, planted
from tests.simulation.run import run_seed

__all__ = ["FOUND", "Found", "hunt", "keep_found"]

_KEPT = Path(__file__).with_name("found.json")
FOUND: dict[str, int] = json.loads(_KEPT.read_text("utf-8"))
"""The first seed that shows each mistake, as ``make simulate-planted`` has found it."""


class Found(NamedTuple):
    """Where a mistake was found.

    Attributes:
        name: the mistake.
        seed: the first seed that shows it; ``None``: none does.
        kind: what it has violated.
    """

    name: str
    seed: int | None
    kind: str


def hunt(name: str, seeds: range) -> Found:
    """Run seeds until one shows a mistake."""
    with planted(MISTAKES[name]):
        for seed in seeds:
            outcome = run_seed(seed)
            if outcome.violations:
                kind, text = outcome.violations[0]
                return Found(name, seed, f"{kind}: {text}")
    return Found(name, None, "")


def keep_found(found: list[Found]) -> None:
    """Write down where mistakes were found."""
    kept = {one.name: one.seed for one in sorted(found) if one.seed is not None}
    _KEPT.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")

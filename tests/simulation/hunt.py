"""Plants each known mistake, and says after how many seeds the simulator has found it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.amqp.planted import AMQP_MISTAKES
from tests.simulation.planted import MISTAKES, planted
from tests.simulation.run import run_seed

if TYPE_CHECKING:
    from tests.simulation.planted import Mistake

__all__ = ["AMQP_FOUND", "FOUND", "PLANTED", "Found", "hunt", "keep_found"]

_HERE = Path(__file__).parent
_KEPT = {"memory": _HERE / "found.json", "amqp": _HERE / "amqp" / "found.json"}
PLANTED: dict[str, dict[str, Mistake]] = {"memory": MISTAKES, "amqp": AMQP_MISTAKES}
"""The mistakes that the simulations with each broker look for."""
FOUND: dict[str, int] = json.loads(_KEPT["memory"].read_text("utf-8"))
"""The first seed that shows each mistake, as ``make simulate-planted`` has found it."""
AMQP_FOUND: dict[str, int] = json.loads(_KEPT["amqp"].read_text("utf-8"))
"""The same, of the simulations of bytes."""


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


def hunt(name: str, seeds: range, broker: str = "memory") -> Found:
    """Run seeds until one shows a mistake."""
    with planted(PLANTED[broker][name]):
        for seed in seeds:
            outcome = run_seed(seed, broker=broker)
            if outcome.violations:
                kind, text = outcome.violations[0]
                return Found(name, seed, f"{kind}: {text}")
    return Found(name, None, "")


def keep_found(found: list[Found], broker: str = "memory") -> None:
    """Write down where mistakes were found."""
    kept = {one.name: one.seed for one in sorted(found) if one.seed is not None}
    _KEPT[broker].write_text(json.dumps(kept, indent=2) + "\n", "utf-8")

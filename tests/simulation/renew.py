"""Finds the situations of kept cases again: ``make simulate-cases``.

A change of the engines may let a case take another way, on which it no longer reaches what it was kept for. Then a seed
is looked for that does, with the mistake of the case planted; it is made small, and kept in its place.
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

from tests.simulation.hunt import PLANTED
from tests.simulation.planted import planted
from tests.simulation.report import kept, load_case
from tests.simulation.run import run_plan, run_seed
from tests.simulation.shrink import shrunk

CASES = Path(__file__).parent / "cases", Path(__file__).parent / "amqp" / "cases"
_SEEDS, _TRIES = 5000, 200


def renew(path: Path) -> str:
    """Keep a case that reaches its situation; return what was done, for people."""
    case, plan, decisions = load_case(path)
    wanted, mistake = set(case["kinds"]), case["mistake"]
    with planted(PLANTED[plan.broker][mistake]):
        if run_plan(plan, decisions).kinds & wanted:
            return "reaches it"
        for seed in chain((plan.seed,), range(_SEEDS)):
            failed = run_seed(seed, broker=plan.broker)
            if failed.kinds & wanted:
                small = shrunk(failed, tries=_TRIES)
                path.write_text(kept(small, case["why"], mistake), "utf-8")
                return f"is reached by seed {seed} now"
    return f"is reached by none of {_SEEDS} seeds"


def main() -> int:
    """Renew all cases."""
    for path in sorted(path for folder in CASES for path in folder.glob("*.json")):
        print(f"{path.stem}: {renew(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

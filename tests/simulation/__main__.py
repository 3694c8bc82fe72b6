"""``python -m tests.simulation``: many seeds over all cores, one seed, or a case that was kept."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.amqp.plan import FAULTS as AMQP_FAULTS
from tests.simulation.hunt import PLANTED, hunt, keep_found
from tests.simulation.plan import FAULTS
from tests.simulation.renew import CASES
from tests.simulation.report import kept, load_case, report
from tests.simulation.run import run_plan, run_seed, run_seeds
from tests.simulation.shrink import shrunk

__all__ = ["main"]

_CHUNK = 100
_FAULTS = {"memory": FAULTS, "amqp": AMQP_FAULTS}


def _many(first: int, count: int, jobs: int, broker: str) -> int:
    faults, ends, cpu, failed = Counter[str](), Counter[str](), 0.0, 0
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        chunks = [(at, min(_CHUNK, first + count - at)) for at in range(first, first + count, _CHUNK)]
        for done in as_completed([pool.submit(run_seeds, *chunk, broker) for chunk in chunks]):
            failures, some_faults, some_ends, seconds = done.result()
            faults.update(some_faults)
            ends.update(some_ends)
            cpu += seconds
            failed += len(failures)
            for outcome in failures:
                print(report(shrunk(outcome)), flush=True)
    print(f"{count} seeds from {first} on, {failed} failed, {count / cpu * 60:.0f} per minute of CPU time")
    for title, counted in (("faults", faults), ("ends", ends)):
        print(f"{title}: {', '.join(f'{name} {number}' for name, number in sorted(counted.items()))}")
    if never := sorted(set(_FAULTS[broker]) - set(faults)):
        print(f"faults that never occurred: {', '.join(never)}")
    return 1 if failed else 0


def _planted(seeds: int, jobs: int, broker: str) -> int:
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        mistakes = PLANTED[broker]
        found = list(pool.map(hunt, mistakes, [range(seeds)] * len(mistakes), [broker] * len(mistakes)))
    cases = {load_case(path)[0]["mistake"]: path.stem for folder in CASES for path in folder.glob("*.json")}
    missed = 0
    for one in found:
        where = f"found by seed {one.seed}" if one.seed is not None else f"NOT found within {seeds} seeds"
        if one.seed is None and one.name in cases:
            where = f"not found within {seeds} seeds, and shown by the case {cases[one.name]}"
        elif one.seed is None:
            missed += 1
        print(f"{one.name}: {where} {one.kind[:150]}")
    by_seeds = sum(one.seed is not None for one in found)
    print(f"{by_seeds} of {len(found)} planted mistakes were found within {seeds} seeds, {missed} are shown by nothing")
    if not missed:
        keep_found(found, broker)
    return 1 if missed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes")
    parser.add_argument("--seed", type=int, help="run this one alone, and print what has happened")
    parser.add_argument("--case", type=Path, help="run a case that was kept")
    parser.add_argument("--keep", type=Path, help="with --seed: write the smallest failure to this file")
    parser.add_argument("--planted", action="store_true", help="look for the planted mistakes, within that many seeds")
    parser.add_argument(
        "--broker", choices=sorted(_FAULTS), default="memory",
        help="what stands for the broker: the one in memory, or one that speaks AMQP below the real transport",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    if given.planted:
        return _planted(given.seeds, given.jobs, given.broker)
    if given.case is not None:
        _, plan, decisions = load_case(given.case)
        outcome = run_plan(plan, decisions)
    elif given.seed is not None:
        outcome = run_seed(given.seed, broker=given.broker)
    else:
        return _many(given.first, given.seeds, given.jobs, given.broker)
    if outcome.violations and given.keep is not None:
        outcome = shrunk(outcome)
        given.keep.write_text(kept(outcome, "say why it is kept"), "utf-8")
    print("\n".join(outcome.lines) if not outcome.violations else report(outcome))
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

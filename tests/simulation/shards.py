"""The seeds of ``make test``, in parts that run side by side."""

from __future__ import annotations

import os
from collections import Counter

from tests.simulation.plan import FAULTS
from tests.simulation.report import report
from tests.simulation.run import run_seed

__all__ = ["PARTS", "run_amqp_part", "run_part"]

PARTS = 8
_SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
_AMQP_SEEDS = int(os.environ.get("SIMULATION_AMQP_SEEDS", "96"))
_ENOUGH = 250
"""With so many seeds, every fault occurs."""


def run_part(part: int) -> None:
    """Run every eighth seed, and fail with the first that fails."""
    faults, ends, seeds = Counter[str](), Counter[str](), range(part, _SEEDS, PARTS)
    for seed in seeds:
        outcome = run_seed(seed)
        assert not outcome.violations, "\n" + report(outcome)
        faults.update(outcome.faults)
        ends.update(outcome.ends)
    if len(seeds) >= _ENOUGH:
        assert set(faults) == set(FAULTS), "faults that never occurred"
        shapes = {end.split(":")[0] for end in ends if end.endswith(": result")}
        assert shapes == {"call", "progress", "notify", "broadcast", "stream", "upload", "map"}


def run_amqp_part(part: int) -> None:
    """Run every eighth seed of the simulations of bytes, and fail with the first that fails."""
    for seed in range(part, _AMQP_SEEDS, PARTS):
        outcome = run_seed(seed, broker="amqp")
        assert not outcome.violations, "\n" + report(outcome)

"""Some seconds of faults, always the same in ``make test``; ``make chaos`` and ``make soak`` run for longer."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tools.soak import soak

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.broker import ChaosBroker
    from tools.broker import Broker

FULL = os.environ.get("CHAOS_FULL") == "1"
SECONDS, CALLERS, ENOUGH = (30.0, 25, 1000) if FULL else (12.0, 15, 200)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_faults_at_random(own_node: Broker, chaos_broker: ChaosBroker, tmp_path: Path) -> None:
    seed = random.randrange(2**32) if FULL else 20
    print(f"seed {seed}")
    tally = await soak(chaos_broker, tmp_path, seconds=SECONDS, seed=seed, callers=CALLERS)
    print(tally)
    assert tally.clean, f"python -m tools.soak --seed {seed}: {tally}"
    assert tally.results > ENOUGH

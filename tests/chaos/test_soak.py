"""Half a minute of faults at random; ``make soak`` runs for longer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tools.soak import soak

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.broker import ChaosBroker
    from tools.broker import Broker

SECONDS = 30.0


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_half_a_minute(own_node: Broker, chaos_broker: ChaosBroker, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    tally = await soak(chaos_broker, tmp_path, seconds=SECONDS, seed=seed)
    print(tally)
    assert tally.clean, f"python -m tools.soak --seed {seed}: {tally}"
    assert tally.results > 1000

"""The first half of the seeds: a file of its own, since a process of pytest-xdist takes one file at a time."""

from __future__ import annotations

import pytest

from tests.simulation.shards import PARTS, run_amqp_part


@pytest.mark.parametrize("part", range(PARTS)[: PARTS // 2])
def test_no_call_is_lost_doubled_or_left_hanging_wherever_bytes_are_cut(part: int) -> None:
    run_amqp_part(part)

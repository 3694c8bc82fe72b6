"""What rules of this kind have broken on elsewhere: drifting estimates, failures that look fast, several workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.limit_support import Load, Outcome, Quota, Slots, Thrashing, workers

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


class Changed:
    """A backend of which some calls go otherwise."""

    def __init__(self, backend: Slots | Quota, change: Callable[[Outcome, int, random.Random], Outcome]) -> None:
        self._backend, self._change = backend, change

    def call(self, now: float, running: int, dice: random.Random) -> Outcome:
        return self._change(self._backend.call(now, running, dice), running, dice)


def test_an_hour_of_overload_moves_neither_the_limit_nor_the_no_load_latency() -> None:
    load = Load(Slots(10, 0.1, 0.3), 200, workers())
    load.run(60.0)
    found = []
    for _ in range(59):
        assert load.run(60.0) >= 90
        found.append(load.workers[0].no_load or 0.0)
    assert max(found) <= 1.5 * 0.1
    assert sum(found[-10:]) <= 1.2 * sum(found[:10]), "no trend"
    load.rate = 80
    load.run(5.0)
    assert load.run(60.0) >= 0.9 * 80


def test_one_lucky_call_does_not_decide_what_no_load_is() -> None:
    load = Load(Slots(10, 0.1), 200, workers())
    load.run(30.0)
    before = load.workers[0].no_load or 0.0
    load.backend = Changed(Slots(10, 0.1), lambda usual, _, dice: (0.0001, True) if dice.random() < 0.002 else usual)
    assert load.run(30.0) >= 90
    assert (load.workers[0].no_load or 0.0) >= 0.8 * before


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_backend_that_is_slow_from_the_first_call_is_found_out_when_it_has_warmed_up(seed: int) -> None:
    load = Load(Slots(20, 2.0), 2500, workers(seed=seed), seed=seed)
    load.run(10.0)
    load.backend = Slots(20, 0.04)
    load.run(5.0)
    assert load.run(10.0) >= 0.9 * 500


@pytest.mark.parametrize("fails", [0.3, 0.95, 1.0])
def test_calls_that_fail_at_once_do_not_raise_the_limit(fails: float) -> None:
    load = Load(Slots(10, 0.1), 200, workers())
    load.run(20.0)
    before = load.workers[0].limit
    load.rate = 20_000
    load.backend = Changed(Slots(10, 0.1), lambda usual, _, dice: (0.001, False) if dice.random() < fails else usual)
    highest = 0

    def note() -> None:
        nonlocal highest
        highest = max(highest, load.workers[0].limit)

    load.run(5.0, note)
    assert highest <= 3 * before if fails < 0.9 else highest <= 1.4 * before


def test_a_backend_that_refuses_what_is_too_much_at_once_is_not_pressed() -> None:
    usual = Changed(Slots(1000, 0.1), lambda usual, running, _: (0.001, False) if running > 10 else usual)
    load = Load(usual, 400, workers())
    load.run(10.0)
    seen: list[int] = []
    assert load.run(20.0, lambda: seen.append(load.workers[0].limit)) >= 85
    assert max(seen) <= 25


def test_a_backend_that_gives_nothing_but_failures_leaves_the_limit_where_it_is() -> None:
    load = Load(Slots(10, 0.1), 200, workers())
    load.run(20.0)
    before = load.workers[0].limit
    load.backend = Changed(Slots(10, 0.1), lambda usual, _, __: (usual[0], False))
    load.run(30.0)
    assert before / 3 <= load.workers[0].limit <= 1.4 * before
    load.backend = Slots(10, 0.1)
    load.run(5.0)
    assert load.run(10.0) >= 90


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mix_of_short_and_long_calls_that_turns_over_breaks_nothing(seed: int) -> None:
    """Calls of 1 ms and of 1 s in one service: the mix moves, not the load that the backend bears."""
    slots = 64
    load = Load(Slots(slots, 0.001), 1e3, workers(seed=seed), seed=seed)

    class Mixed:
        share = 0.1

        def __init__(self) -> None:
            self.slots = Slots(slots, 0.0)

        def call(self, now: float, running: int, dice: random.Random) -> Outcome:
            self.slots.seconds = 1.0 if dice.random() < self.share else 0.001
            return self.slots.call(now, running, dice)

    load.backend = mixed = Mixed()
    load.run(60.0)
    for share in (0.9, 0.1, 0.9, 0.1):
        mixed.share = share
        load.run(60.0)
        mean = share + (1 - share) * 0.001
        assert load.run(30.0) >= 0.5 * slots / mean, (share, load.limits)


def test_workers_that_share_a_backend_refuse_nothing_for_measuring() -> None:
    load = Load(Quota(500, 0.04), 400, workers(8))
    load.run(5.0)
    load.refused = 0
    assert load.run(60.0) >= 0.98 * 400 * 0.97  # the arrivals are random, too
    assert load.refused == 0


def test_workers_that_start_at_once_have_no_common_rhythm() -> None:
    load = Load(Slots(64, 0.04), 3200, workers(8))
    load.run(10.0)
    above = [0] * 9
    centre = sum(load.limits) / 8

    def note() -> None:
        above[sum(limit > centre for limit in load.limits)] += 1

    load.run(20.0, note)
    assert above[0] + above[8] < 0.2 * sum(above)


@pytest.mark.parametrize("backend", [Quota(500, 0.04), Slots(20, 0.04), Thrashing(500, 20)])
def test_workers_that_overload_one_backend_do_not_press_each_other_without_end(
    backend: Quota | Slots | Thrashing,
) -> None:
    load = Load(backend, 2500, workers(8))
    load.run(60.0)
    sums: list[int] = []
    load.run(60.0, lambda: sums.append(sum(load.limits)))
    early = sums[: len(sums) // 2]
    assert sum(sums[len(early) :]) / len(sums[len(early) :]) <= 1.2 * sum(early) / len(early), "it does not climb on"


def test_workers_that_know_of_each_other_find_the_limit_of_all_together() -> None:
    load = Load(Thrashing(500, 20), 1000, workers(8))
    for worker in load.workers:
        worker.workers = 8
    load.run(60.0)
    assert load.run(20.0) >= 0.9 * 500

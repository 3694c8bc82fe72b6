"""The rule behind ``fetch_size="auto"``, in virtual time: it finds what a backend bears, and follows it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._server.adaptive_limit import AdaptiveLimit
from rabibridge_core._services.auto import START
from tests.unit.limit_support import Load, Quota, Slots, Thrashing, workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.limit_support import Backend

RATES = (500, 150, 800)
WITHIN = 5.0  # seconds after a change
_BACKENDS: dict[str, Callable[[float, float], Backend]] = {
    "a quota": lambda rate, spread: Quota(rate, 0.04, spread),
    "slots that get fewer": lambda rate, spread: Slots(round(rate * 0.04), 0.04, spread),
    "slots that get slower": lambda rate, spread: Slots(20, 20 / rate, spread),
    "one that thrashes": lambda rate, spread: Thrashing(rate, round(rate * 0.04), spread),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", _BACKENDS)
def test_it_gives_nine_tenths_of_what_the_best_fixed_limit_gives_soon_after_each_change(name: str, seed: int) -> None:
    load = Load(_BACKENDS[name](RATES[0], 0.0), 0, workers(seed=seed), seed=seed)
    for rate in RATES:
        load.backend, load.rate = _BACKENDS[name](rate, 0.0), 1.6 * rate
        load.run(WITHIN)
        assert load.run(15.0) >= 0.9 * rate, (rate, load.limits)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", _BACKENDS)
def test_it_holds_where_the_times_of_calls_vary_as_much_as_those_of_an_exponential_distribution(
    name: str, seed: int
) -> None:
    load = Load(_BACKENDS[name](RATES[0], 1.0), 0, workers(seed=seed), seed=seed)
    for rate in RATES:
        load.backend, load.rate = _BACKENDS[name](rate, 1.0), 1.6 * rate
        load.run(10.0)
        assert load.run(20.0) >= 0.8 * rate, (rate, load.limits)


def test_it_keeps_latency_low_where_more_at_a_time_would_only_wait() -> None:
    load = Load(Quota(500, 0.04), 1000, workers())
    load.run(10.0)
    highest = 0

    def note() -> None:
        nonlocal highest
        highest = max(highest, *load.limits)

    load.run(20.0, note)
    assert highest <= 2.5 * 500 * 0.04


def test_the_bounds_are_kept_whatever_happens() -> None:
    load = Load(Quota(500, 0.04), 2000, workers(minimum=3, maximum=7))
    seen: set[int] = set()
    load.run(20.0, lambda: seen.update(load.limits))
    load.backend = Slots(1, 0.2)
    load.run(20.0, lambda: seen.update(load.limits))
    assert min(seen) >= 3
    assert max(seen) <= 7


def test_equal_bounds_are_a_fixed_limit() -> None:
    load = Load(Quota(500, 0.04), 2000, workers(minimum=12, maximum=12))
    seen: set[int] = set()
    load.run(10.0, lambda: seen.update(load.limits))
    assert seen == {12}
    assert load.workers[0].no_load is not None, "the figures are there all the same"


@pytest.mark.parametrize(("minimum", "maximum", "start"), [(1, 1000, START), (20, 1000, 20), (1, 4, 4)])
def test_it_starts_small_within_its_bounds(minimum: int, maximum: int, start: int) -> None:
    assert AdaptiveLimit(minimum, maximum, 0.0).limit == start


def test_the_limit_does_not_grow_while_the_calls_do_not_need_it() -> None:
    load = Load(Slots(100, 0.02), 150, workers())  # three at a time, of which there may be eight
    seen: set[int] = set()
    load.run(60.0, lambda: seen.update(load.limits))
    assert seen == {START}
    assert load.workers[0].no_load == pytest.approx(0.02)


def test_a_call_a_minute_changes_nothing() -> None:
    load = Load(Quota(500, 0.04), 1000, workers())
    load.run(20.0)
    load.rate = 0
    load.run(5.0)
    found = load.limits
    for _ in range(120):
        load.burst(1)
        load.run(60.0)
    assert abs(load.limits[0] - found[0]) <= 0.35 * found[0]


def test_a_burst_after_an_idle_hour_ends_as_soon_as_with_a_fixed_limit() -> None:
    took = {}
    for name, bounds in (("fixed", (20, 20)), ("auto", (1, 1000))):
        load = Load(Slots(20, 0.04), 900, workers(minimum=bounds[0], maximum=bounds[1]))
        load.run(20.0)
        load.rate = 0
        load.run(3600.0)
        start, before = load.now, len(load.ended)
        load.burst(200)
        load.run(10.0)
        assert len(load.ended) == before + 200
        took[name] = load.ended[-1] - start
    assert took["auto"] <= 1.25 * took["fixed"] + 0.04


def test_an_update_comes_while_calls_flow_whatever_came_before() -> None:
    rule = AdaptiveLimit(1, 1000, 0.0, random.Random(1))
    dice, load = random.Random(2), Load(Quota(300, 0.03), 0, workers())
    load.workers = [rule]
    for _ in range(30):
        load.rate = dice.choice([0, 0, 1, 100, 600, 1000])
        load.run(dice.choice([0.05, 0.5, 2.0, 30.0]))
    load.rate = 0
    load.run(30.0)
    load.rate, load.backend = 600, Quota(300, 0.03)
    load.run(5.0)
    levels: set[int] = set()
    load.run(5.0, lambda: levels.add(rule.limit))
    assert len(levels) > 1, "it tries other levels"

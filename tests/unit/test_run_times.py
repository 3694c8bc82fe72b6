"""What is known of how long runs take: it refuses only what cannot end, ages, and never sticks."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._server.run_times import MIN_RUNS, PROBE_INTERVAL, PROBE_RUNS, WINDOW, RunTimes


def _known(seconds: float = 1.0, runs: int = MIN_RUNS, now: float = 0.0) -> RunTimes:
    """Return what is known after some runs, and after the first probe."""
    times = RunTimes(now)
    for _ in range(runs):
        times.ended(seconds)
    assert not times.refuses(0.0, now), "the first one is a probe"
    return times


def test_a_service_that_is_not_known_refuses_nothing() -> None:
    times = RunTimes(0.0)
    assert not times.refuses(0.0, 0.0)
    for _ in range(MIN_RUNS - 1):
        times.ended(1.0)
    assert not any(times.refuses(0.0, 0.0) for _ in range(10))
    times.ended(1.0)
    assert [times.refuses(0.0, 0.0) for _ in range(3)] == [False, True, True], "one probe, then refusals"


def test_a_call_with_as_much_time_as_a_run_took_is_not_refused() -> None:
    times = _known(1.0)
    assert times.least == 1.0
    assert not times.refuses(1.0, 0.0)
    assert not times.refuses(3600.0, 0.0)
    assert times.refuses(0.999, 0.0)


@pytest.mark.parametrize("rare", [0.5, 0.1, 0.01, 0.001])
def test_rare_short_runs_among_long_ones_are_never_refused(rare: float) -> None:
    chance, times, refused = random.Random(7), RunTimes(0.0), 0
    for number in range(20_000):
        now = number / 100
        short = chance.random() < rare
        if short and times.refuses(0.1, now):
            refused += 1
        else:
            times.ended(0.001 if short else 1.0)
    # One run of a thousand is one in ten seconds: the last one is always known.
    assert refused == 0


def test_a_mix_that_flips_refuses_nothing_that_can_end() -> None:
    times, refused, now = RunTimes(0.0), 0, 0.0
    for phase in range(6):
        for number in range(6_000):
            now += 0.01
            short = (number % 10 == 0) == bool(phase % 2)
            if times.refuses(0.5 if short else 2.0, now):
                refused += 1
            else:
                times.ended(0.001 if short else 1.0)
    assert refused == 0


def test_the_only_caller_of_a_rare_short_run_gets_it_after_any_pause() -> None:
    times, now = _known(1.0, 1_000), 0.0
    for _ in range(50):
        for _ in range(300):
            now += 1.0
            times.age(now)
            times.ended(1.0)
        assert not times.refuses(0.1, now), "nothing short is known any more, so it is a probe"
        times.ended(0.001)
        assert not times.refuses(0.1, now), "what the probe has shown counts at once"


def test_a_service_that_has_become_faster_is_found_out_by_a_probe() -> None:
    times, refused, now = _known(1.0), 0, 0.0
    while times.refuses(0.5, now):
        refused, now = refused + 1, now + 0.01
    assert now == pytest.approx(PROBE_INTERVAL, abs=0.1)
    times.ended(0.2)
    assert not times.refuses(0.5, now)


def test_probes_are_few() -> None:
    times, probes, runs = _known(1.0), 0, 0
    for number in range(20_000):
        now = number / 500  # 40 s
        if number % 5:
            probes += not times.refuses(0.5, now)
        else:
            times.ended(1.0)
            runs += 1
    assert 0 < probes <= 1 + runs / PROBE_RUNS + 40 / PROBE_INTERVAL


def test_what_is_known_ages_without_a_run_and_without_a_timer() -> None:
    times = _known(1.0)
    assert not times.refuses(0.5, WINDOW), "another probe"
    assert times.refuses(0.5, WINDOW)
    assert not any(times.refuses(0.5, 2 * WINDOW + second) for second in range(100))
    assert times.least == math.inf


def test_a_single_short_run_is_forgotten() -> None:
    times, now = RunTimes(0.0), 0.0
    times.ended(0.0001)
    while now < 2 * WINDOW:
        now += 0.1
        times.age(now)
        times.ended(1.0)
    times.refuses(0.5, now)  # may be a probe
    assert times.refuses(0.5, now)
    assert times.least == 1.0


def test_runs_that_were_cut_off_count_as_longer_than_they_were() -> None:
    times = RunTimes(0.0)
    for _ in range(MIN_RUNS):
        times.cut(0.5, 0.0)
    assert not times.refuses(0.4, 0.0), "the first one is a probe"
    assert times.refuses(0.4, 0.0)
    assert times.refuses(0.5, 0.0)
    assert not times.refuses(0.6, 0.0), "nothing is known of runs that take longer"
    times.ended(0.3)
    assert not times.refuses(0.4, 0.0)


def test_runs_that_were_cut_off_early_hide_nothing() -> None:
    times = _known(1.0)
    for _ in range(1_000):
        times.cut(0.01, 0.0)
    assert times.least == 1.0
    assert times.refuses(0.5, 0.0) or times.refuses(0.5, 0.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ended", "cut", "asked", "idle"]), st.floats(0.0, 10.0), st.floats(0.0, 3 * WINDOW)),
        max_size=200,
    )
)
def test_nothing_is_refused_that_a_recent_run_would_contradict(steps: list[tuple[str, float, float]]) -> None:
    times, now, runs = RunTimes(0.0), 0.0, list[tuple[float, float]]()
    for what, seconds, later in steps:
        if what == "idle":
            now += later
            times.age(now)
        elif what == "ended":
            times.ended(seconds)
            runs.append((now, seconds))
        elif what == "cut":
            times.cut(seconds, now)
        elif times.refuses(seconds, now):
            recent = [took for when, took in runs if now - when < WINDOW]
            assert all(took > seconds for took in recent)

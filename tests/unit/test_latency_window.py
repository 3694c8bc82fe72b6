"""Quantiles of recent latencies."""

from __future__ import annotations

import random

import pytest

from rabibridge_core._client.latency_window import LIFETIME, SIZE, LatencyWindow


def _filled(*latencies: float, now: float = 0.0) -> LatencyWindow:
    window = LatencyWindow()
    for latency in latencies:
        window.add(latency, now)
    return window


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.050), (0.95, 0.095), (0.99, 0.099)])
def test_the_quantiles_of_a_hundred(share: float, expected: float) -> None:
    latencies = [number / 1000 for number in range(1, 101)]
    random.Random(7).shuffle(latencies)
    assert _filled(*latencies).quantile(share, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize(("share", "least"), [(0.5, 20), (0.95, 20), (0.99, 100), (0.999, 1000)])
def test_nothing_is_told_of_too_few(share: float, least: int) -> None:
    window = _filled(*[0.01] * (least - 1))
    assert window.quantile(share, 0.0) is None
    window.add(0.01, 0.0)
    assert window.quantile(share, 1.0) == 0.01  # what was computed counts for a second


def test_what_is_old_does_not_count() -> None:
    window = _filled(*[5.0] * 100)
    for number in range(20):
        window.add(0.01, LIFETIME + 1 + number)
    assert window.quantile(0.5, LIFETIME + 30) == 0.01
    assert window.quantile(0.5, 3 * LIFETIME) is None


def test_it_holds_the_last_thousand() -> None:
    window = _filled(*[5.0] * SIZE)
    for _ in range(SIZE):
        window.add(0.01, 1.0)
    assert len(window) == SIZE
    assert window.quantile(0.999, 1.0) == 0.01


def test_it_follows_within_32_latencies_even_if_no_time_passes() -> None:
    window = _filled(*[0.01] * 20)
    assert window.quantile(0.5, 0.0) == 0.01
    for _ in range(32):
        window.add(1.0, 0.0)
    assert window.quantile(0.5, 0.0) == 1.0

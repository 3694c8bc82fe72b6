"""The policy and the budget of second copies."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from rabibridge import ConfigurationError, Hedge
from rabibridge_core._client.backlog import BacklogEstimates
from rabibridge_core._client.hedge import HedgedServices, as_hedge, pushed_back


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (False, False),
        (0.95, Hedge(percentile=0.95)),
        (timedelta(milliseconds=200), Hedge(after=0.2)),
        (Hedge(after=timedelta(seconds=2)), Hedge(after=2.0)),
    ],
)
def test_what_is_taken(given: Any, expected: Any) -> None:
    assert as_hedge(given) == expected


@pytest.mark.parametrize(
    "given", [1, 1.0, 2, 95, 0.2, 0, -0.95, True, math.nan, math.inf, "0.95", "200ms", timedelta(0)]
)
def test_a_number_is_never_a_time(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Hedge\(after=0\.2\)|after is"):
        as_hedge(given)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"percentile": 0.9, "after": 1.0},
        {"percentile": 0.3},
        {"percentile": timedelta(seconds=0.9)},
        {"after": 0.0},
        {"after": math.inf},
        {"after": 1.0, "ratio": 1.1},
        {"after": 1.0, "ratio": timedelta(seconds=0.5)},
        {"after": 1.0, "burst": 0},
        {"after": 1.0, "burst": True},
    ],
)
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Hedge: "):
        Hedge(**wrong)


def test_at_most_one_copy_more_than_five_percent() -> None:
    services, policy = HedgedServices(), Hedge(after=1.0)
    spent = sum(services.called(policy, "a").spend(late=False) for _ in range(10_000))
    assert 500 <= spent <= 501


def test_no_more_than_the_burst_is_saved() -> None:
    services, policy = HedgedServices(), Hedge(after=1.0, burst=3)
    service = services.called(policy, "a")
    for _ in range(1000):
        assert services.called(policy, "a") is service
    assert [service.spend(late=False) for _ in range(5)] == [True] * 3 + [False] * 2


def test_with_a_percentile_half_is_kept_for_calls_that_are_late() -> None:
    services, policy = HedgedServices(), Hedge(percentile=0.95, burst=10)
    service = services.called(policy, "a")
    for _ in range(1000):
        assert services.called(policy, "a") is service
    assert [service.spend(late=False) for _ in range(6)] == [True] * 5 + [False]
    assert [service.spend(late=True) for _ in range(6)] == [True] * 5 + [False]


def test_each_service_has_a_budget_and_few_are_kept() -> None:
    services, policy = HedgedServices(), Hedge(after=1.0)
    assert all(services.called(policy, str(number)).spend(late=False) for number in range(1000))
    assert len(services._services) == 256


def test_a_percentile_is_known_only_after_some_calls() -> None:
    service = HedgedServices().called(Hedge(percentile=0.95), "a")
    for number in range(19):
        service.latencies.add(0.01, float(number))
    assert service.delay(20.0) is None
    service.latencies.add(0.02, 21.0)
    assert service.delay(22.0) == 0.01


def test_a_service_that_has_refused_gets_none_until_its_backlog_is_worked_off() -> None:
    backlogs = BacklogEstimates()
    assert not pushed_back(backlogs, "a", 0.0)
    backlogs.refused("a", 10.0)
    assert pushed_back(backlogs, "a", 10.9)
    assert not pushed_back(backlogs, "a", 11.1)
    backlogs["a"].took(3.0, 0.0, 11.0)
    assert pushed_back(backlogs, "a", 12.9)
    assert not pushed_back(backlogs, "a", 13.1)

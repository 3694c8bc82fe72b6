"""How long refused calls wait, how many of them are sent again, and what is known of a backlog."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rabibridge_core._client.backlog import BacklogEstimate, BacklogEstimates
from rabibridge_core._client.retry import RetryBudgets, RetryRefused
from rabibridge_core.errors import ConfigurationError


def test_waits_double_up_to_the_cap() -> None:
    retry = RetryRefused(base=0.5, cap=3.0)
    assert [retry.longest_wait(attempts, None) for attempts in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert retry.longest_wait(10**6, None) == 3.0


def test_waits_begin_with_the_time_of_the_backlog() -> None:
    retry = RetryRefused(base=0.5, cap=3.0)
    assert [retry.longest_wait(attempts, 1.25) for attempts in (1, 2, 3)] == [1.25, 2.5, 3.0]
    assert retry.longest_wait(1, 0.1) == 0.5
    assert retry.longest_wait(1, 60.0) == 3.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0}, {"attempts": 1.5}, {"base": 0}, {"base": math.inf}, {"base": math.nan}, {"base": 2, "cap": 1},
        {"cap": math.inf}, {"ratio": -0.1}, {"ratio": 1.1}, {"burst": -1},
    ],
    ids=repr,
)  # fmt: skip
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryRefused: {list(wrong)[-1]} is"):
        RetryRefused(**wrong)


def test_a_budget_gives_a_burst_and_then_a_share_of_the_calls() -> None:
    budgets, retry = RetryBudgets(), RetryRefused(ratio=0.1, burst=3)
    assert [budgets.spend(retry, "a", 0.0) for _ in range(4)] == [True, True, True, False]
    spent = 0
    for _ in range(1000):
        budgets.earn(retry, "a", 0.0)
        spent += budgets.spend(retry, "a", 0.0)
    assert spent == 100
    for _ in range(1000):
        budgets.earn(retry, "a", 0.0)
    assert [budgets.spend(retry, "a", 0.0) for _ in range(4)] == [True, True, True, False]


def test_each_service_has_its_own_budget_and_those_not_used_for_longest_are_forgotten() -> None:
    budgets, retry = RetryBudgets(), RetryRefused(ratio=0, burst=1)
    for number in range(5000):
        budgets.earn(retry, f"service {number}", 0.0)
        assert budgets.spend(retry, f"service {number}", 0.0)
    assert not budgets.spend(RetryRefused(ratio=0, burst=1), "service 4999", 0.0)  # equal settings share it
    budgets.earn(retry, "service 0", 0.0)
    assert budgets.spend(retry, "service 0", 0.0)


def test_the_median_of_the_recent_times() -> None:
    backlog = BacklogEstimate()
    assert backlog.estimate(0.0) is None
    for now, seconds in ((1.0, 0.2), (2.0, 9.0), (3.0, 0.4)):
        backlog.took(seconds, 0.0, now)
    assert backlog.estimate(3.0) == 0.4
    assert backlog.estimate(11.5) == 9.0  # the first one is too old, of two the larger one is taken
    assert backlog.estimate(14.0) is None


def test_long_calls_say_something_for_longer() -> None:
    backlog = BacklogEstimate()
    backlog.took(60.0, 1.0, 100.0)
    assert backlog.estimate(159.0) == 60.0
    assert backlog.estimate(161.0) is None


def test_only_the_last_times_count() -> None:
    backlog = BacklogEstimate()
    for seconds in (5.0,) * 100 + (1.0,) * 16:
        backlog.took(seconds, 0.0, 1.0)
    assert backlog.estimate(1.0) == 1.0


def test_a_call_that_was_shorter_than_the_last_refusal_was_ago_says_nothing() -> None:
    backlog = BacklogEstimate()
    backlog.took(0.5, 0.6, 1.0)
    assert backlog.estimate(1.0) is None
    backlog.took(0.5, 0.4, 1.0)
    assert backlog.estimate(1.0) == 0.5


def test_services_are_forgotten_a_minute_after_their_last_refusal() -> None:
    backlogs = BacklogEstimates()
    assert backlogs.watched("a", 0.0) is None
    for route, now in (("a", 0.0), ("b", 1.0), ("a", 30.0)):
        assert backlogs.refused(route, now) is None
    assert backlogs.watched("b", 60.0) is not None
    assert backlogs.watched("b", 62.0) is None
    assert backlogs.watched("a", 62.0) is not None
    assert backlogs.watched("c", 91.0) is None
    assert not backlogs


def test_no_more_than_256_services_are_kept() -> None:
    backlogs = BacklogEstimates()
    for number in range(1000):
        backlogs.refused(str(number), 1.0)
        backlogs.refused("often", 1.0)
    assert len(backlogs) == 256
    assert "often" in backlogs
    assert "0" not in backlogs

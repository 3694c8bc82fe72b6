"""Rates of services as they are written, and the shares that workers have of one."""

from __future__ import annotations

import heapq
import math
import random
from itertools import count
from typing import Any

import pytest

from rabibridge import register_call
from rabibridge_core._server.rate import BURST, JOIN_WAIT, LOOK_INTERVAL, RateShare
from rabibridge_core._services.rates import calls_per_second
from rabibridge_core.errors import RegistrationError


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("300/s", 300.0), ("20/min", 20 / 60), ("1000/h", 1000 / 3600), ("5000/d", 5000 / 86400), ("1/d", 1 / 86400),
        ("0.5/s", 0.5), (" 2 / s ", 2.0), (300, 300.0), (2.5, 2.5), (None, None),
    ],
)  # fmt: skip
def test_a_rate_is_a_number_and_a_unit_or_calls_per_second(rate: Any, expected: float | None) -> None:
    assert calls_per_second("work", rate) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "rate",
    ["300", "300/", "/s", "300/sec", "-1/s", "1e3/s", "0/s", "2000000/s", b"1/s", 0, -1, True, math.nan, math.inf],
)
def test_what_is_no_rate_is_refused_where_it_is_written(rate: Any) -> None:
    with pytest.raises(RegistrationError, match=r"service 'work': rate is .*'300/s' or '20/min'"):

        @register_call(name="work", rate=rate)
        async def work() -> None: ...


def test_a_worker_alone_starts_at_once_and_keeps_to_the_rate() -> None:
    share = RateShare(100.0)
    assert not share.take(0.0), "it does not know yet that it is alone"
    share.observed(1, 10.0)
    started = [now for now in _steps(10.0, 20.0) if share.take(now)]
    assert len(started) == pytest.approx(1000 + 100 * BURST, abs=2)
    assert started[0] == 10.0


def test_a_pause_saves_up_no_more_than_the_burst() -> None:
    share = RateShare(50.0)
    share.observed(1, 0.0)
    assert sum(share.take(60.0) for _ in range(100)) == 50 * BURST
    slow = RateShare(1 / 60)
    slow.observed(1, 0.0)
    assert sum(slow.take(3600.0) for _ in range(100)) == 1
    assert slow.wait(3600.0, 1) == pytest.approx(60.0)
    assert slow.wait(3600.0, 3) == pytest.approx(180.0)


def test_a_worker_that_joins_others_starts_nothing_before_they_know() -> None:
    share = RateShare(100.0)
    share.observed(4, 5.0)
    assert share.joining(5.0)
    assert share.wait(5.0, 1) == pytest.approx(JOIN_WAIT + 1 / 25)
    assert not any(share.take(now) for now in _steps(5.0, 5.0 + JOIN_WAIT))
    assert share.take(5.0 + JOIN_WAIT + 1 / 25)
    share.left()
    assert not share.take(100.0), "nobody counts it"
    share.observed(1, 100.0)
    assert share.take(100.0), "nobody else is there"


def _steps(first: float, last: float) -> list[float]:
    return [first + step / 1000 for step in range(int((last - first) * 1000))]


class Cluster:
    """Workers of one service, each of which counts the others at its own moments, as the broker tells them."""

    def __init__(self, rate: float, seed: int) -> None:
        self.now, self.rate = 0.0, rate
        self.started: list[float] = []
        self._random = random.Random(seed)
        self._shares: dict[int, RateShare] = {}
        self._gone_at: dict[int, float] = {}
        """Workers that are dead, and when the broker notices it."""
        self._events: list[tuple[float, int, int, str]] = []
        self._numbers = count()

    def join(self) -> int:
        worker = next(self._numbers)
        self._shares[worker] = RateShare(self.rate)
        self._plan(self._random.uniform(0.0, 0.05), worker, "look")
        return worker

    def kill(self, worker: int, noticed_after: float = 0.0) -> None:
        del self._shares[worker]
        self._gone_at[worker] = self.now + noticed_after

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, worker, what = heapq.heappop(self._events)
            if (share := self._shares.get(worker)) is None:
                continue
            if what == "look":
                counted = len(self._shares) + sum(gone > self.now for gone in self._gone_at.values())
                share.observed(counted, self.now + self._random.uniform(0.0, 0.02))
                self._plan(LOOK_INTERVAL, worker, "look")
                self._plan(0.0, worker, "start")
            while share.take(self.now):  # there is always a call that waits
                self.started.append(self.now)
            self._plan(share.wait(self.now, 1) + self._random.uniform(0.0, 0.002), worker, "start")
        self.now = until

    def _plan(self, after: float, worker: int, what: str) -> None:
        if what == "start":  # one timer for each worker
            self._events = [event for event in self._events if event[2:] != (worker, what)]
            heapq.heapify(self._events)
        heapq.heappush(self._events, (self.now + after, next(self._numbers), worker, what))

    def within(self, first: float, last: float) -> int:
        return sum(first <= when < last for when in self.started)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [300.0, 40.0])
def test_the_sum_stays_within_the_rate_while_workers_die_and_join(rate: float, seed: int) -> None:
    cluster = Cluster(rate, seed)
    first, *_ = [cluster.join() for _ in range(4)]
    cluster.run(10.0)
    cluster.kill(first)
    cluster.run(10.0)
    cluster.join()
    cluster.run(10.0)
    for second in range(2, 30):
        assert cluster.within(second, second + 1) <= rate * 1.1 + 4, "in no second, whoever has joined in it"
    assert 0.9 * rate * 28 <= cluster.within(2.0, 30.0) <= 1.1 * rate * 28


def test_a_worker_that_the_broker_takes_for_alive_leaves_its_share_unused() -> None:
    cluster = Cluster(100.0, 1)
    first, *_ = [cluster.join() for _ in range(4)]
    cluster.run(5.0)
    cluster.kill(first, noticed_after=20.0)
    cluster.run(20.0)
    assert cluster.within(6.0, 24.0) == pytest.approx(75 * 18, rel=0.03)
    cluster.run(10.0)
    assert cluster.within(26.0, 35.0) == pytest.approx(100 * 9, rel=0.03)

"""A fair queue refuses the newest call of who has the most in it, and keeps what others have."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.fair_queue import FairQueue, Lengths
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from tests.unit.scripted_requests import ScriptedRequest


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans())))
def test_lengths_know_who_has_the_most(steps: list[tuple[str, bool]]) -> None:
    lengths, plain = Lengths[str](), Counter[str]()
    for caller, adds in steps:
        if adds:
            lengths.add(caller)
            plain[caller] += 1
        elif plain[caller]:
            lengths.drop(caller)
            plain[caller] -= 1
        most = max(plain.values(), default=0)
        assert lengths.of == +plain
        assert lengths.most == most
        if most:
            assert plain[lengths.longest] == most
        for one in "abcde":
            assert lengths.chosen(one) == (one if plain[one] + 1 >= most else lengths.longest)


class Worker:
    """One worker with a fair queue, whose calls end when the test says so."""

    def __init__(self, limit: int, places: int) -> None:
        self.running: list[ActiveRequest] = []
        self.active: set[ActiveRequest] = set()
        self.ended, self.refused = Counter[str](), Counter[str]()
        self.now = 0.0
        self.waited: dict[str, list[float]] = {}
        self.queue = FairQueue(limit, places, self._start, self.active, clock=lambda: self.now)

    def _start(self, active: ActiveRequest) -> None:
        task: Any = True
        active.task = task
        self.waited.setdefault(active.request.caller.decode(), []).append(self.now - active.received_at)
        self.running.append(active)

    def arrives(self, caller: str, user: str = "") -> ActiveRequest:
        scripted: Any = ScriptedRequest(caller=caller.encode(), user=user)
        active = ActiveRequest("work", scripted)
        active.received_at = self.now
        self.active.add(active)
        if self.queue.acquire():
            self._start(active)
            return active
        if (surplus := self.queue.surplus(active)) is not None:
            self.active.discard(surplus)
            self.refused[surplus.request.caller.decode()] += 1
            if surplus is active:
                return active
        self.queue.enqueue(active)
        return active

    def end_one(self) -> None:
        self.now += 0.01
        if self.running:
            active = self.running.pop(0)
            active.over = True
            self.active.discard(active)
            self.ended[active.request.caller.decode()] += 1
            self.queue.release(active)

    @property
    def waiting(self) -> int:
        return len(self.active) - len(self.running)


def test_who_comes_to_a_full_queue_takes_the_place_of_who_has_the_most() -> None:
    worker = Worker(1, 4)
    greedy = [worker.arrives("greedy") for _ in range(7)]
    assert worker.refused == {"greedy": 2}, "itself, as nobody has more"
    worker.arrives("modest")
    assert (worker.refused, worker.waiting) == ({"greedy": 3}, 4)
    assert greedy[4] not in worker.active, "the newest, which has waited least"
    started = []
    for _ in range(2):
        worker.end_one()
        started += [one.request.caller for one in worker.running]
    assert started == [b"greedy", b"modest"], "in turn"


def test_of_a_user_with_many_clients_one_of_the_client_with_the_most_is_refused() -> None:
    worker = Worker(1, 4)
    for caller in ("a1", "a1", "a2", "a3", "a3"):
        worker.arrives(caller, user="a")
    worker.arrives("b1", user="b")
    assert worker.refused == {"a3": 1}
    worker.arrives("b1", user="b")
    worker.arrives("b1", user="b")
    assert worker.refused["b1"] == 1, "its third, when both users have two"
    assert (sum(worker.refused.values()), worker.waiting) == (3, 4)


def test_workers_divide_the_places() -> None:
    worker = Worker(1, 10)
    for workers, places in ((3, 4), (0, 4), (1, 10), (20, 1)):
        worker.queue.share(workers)
        assert worker.queue.places == places


@pytest.mark.parametrize("seed", range(3))
def test_nine_modest_callers_lose_nothing_to_a_greedy_one_at_five_times_the_capacity(seed: int) -> None:
    """One call ends in each step; a modest caller offers 0.08 calls in it, of a share of 0.1; the greedy one 4.28."""
    worker, source = Worker(8, 100), random.Random(seed)
    offered = Counter[str]()
    for _ in range(5000):
        due = ["greedy"] * (4 + (source.random() < 0.28)) + [f"m{n}" for n in range(9) if source.random() < 0.08]
        source.shuffle(due)
        for caller in due:
            offered[caller] += 1
            worker.arrives(caller)
        worker.end_one()
        assert worker.waiting <= 100
    for number in range(9):
        assert worker.refused[f"m{number}"] <= 0.001 * offered[f"m{number}"]
        assert worker.ended[f"m{number}"] >= 0.95 * offered[f"m{number}"]
    assert sum(worker.ended.values()) >= 4990, "and nothing of the capacity is lost"
    one_queue = 100 * 0.01
    assert max(worker.waited["greedy"][100:]) <= 1.3 * one_queue, "not for as long as its share would make it"
    assert max(worker.waited["m0"]) <= one_queue / 2


def test_equal_callers_get_equal_shares() -> None:
    worker, source = Worker(4, 40), random.Random(1)
    for _ in range(4000):
        for _ in range(5):
            worker.arrives(f"c{source.randrange(10)}")
        worker.end_one()
    assert min(worker.ended.values()) >= 0.95 * max(worker.ended.values())


@pytest.mark.parametrize(
    ("limits", "places"),
    [
        ({"fair": True, "queue_size": 100}, 100), ({"fair": True}, None), ({"queue_size": 100}, None),
        ({"fair": True, "queue_size": 100, "fetch_ahead": 4}, None), ({"fair": True, "queue_size": 0}, None),
        ({"fair": True, "queue_size": 100, "delivery": "at-most-once"}, None),
    ],
)  # fmt: skip
def test_which_services_have_a_fair_queue(limits: dict[str, Any], places: int | None) -> None:
    async def work() -> None: ...

    assert ServiceSchema.of(work, ServiceLimits(**limits)).fair_places == places

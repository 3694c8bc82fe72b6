"""How many calls a client sends whose workers refuse some: about twice what is answered, and never none."""

from __future__ import annotations

import random
from collections import deque

import pytest

from rabibridge_core._client.throttle import CallThrottle


def _simulate(rate: float, answers: list[float], *, wait: float = 0.2) -> list[float]:
    """Return how many calls are sent in each second, if so many can be answered, and wait for ``wait`` at most."""
    throttle, sent, due = CallThrottle(0.0, wait, random.Random(1)), [0.0] * len(answers), deque[float]()
    made, now, free = 0, 0.0, 0.0
    while now < len(answers):
        while due and due[0] <= now:
            throttle.answered(due.popleft())
        if throttle.sends(now):
            capacity = answers[int(now)]
            sent[int(now)] += 1
            if capacity and (done := max(free, now) + 1 / capacity) <= now + wait:
                free = done
                due.append(done)
        made += 1
        now = made / rate
    return sent


def test_twice_as_many_are_sent_as_are_answered() -> None:
    sent = _simulate(5_000, [500.0] * 20)
    assert 800 < sum(sent[10:]) / 10 < 1_200
    assert min(sent) > 600, "there is no gap at the start"


def test_all_are_sent_if_workers_answer_half_of_them() -> None:
    assert _simulate(1_000, [600.0] * 10)[5:] == pytest.approx([1_000.0] * 5, rel=0.05)


def test_it_lets_all_through_again_soon_after_the_load_has_gone() -> None:
    throttle, chance = CallThrottle(0.0, 0.2, random.Random(1)), random.Random(2)
    for number in range(50_000):  # ten seconds at ten times the capacity
        now = number / 5_000
        if throttle.sends(now) and chance.random() < 0.5:
            throttle.answered(now)
    held = 0
    for number in range(2_500):  # five at half the capacity
        now = 10 + number / 250
        if throttle.sends(now):
            throttle.answered(now)
        elif now > 15:
            held += 1
    assert held == 0


def test_it_never_sticks_although_nothing_is_answered() -> None:
    sent = _simulate(1_000, [0.0] * 30 + [500.0] * 30)
    assert min(sent[5:30]) >= 9, "ten in a second"
    assert sum(sent[50:]) / 10 > 800, "it has found out"

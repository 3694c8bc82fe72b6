"""The replay memory: nothing runs twice, nothing is forgotten early, and it is bounded."""

from __future__ import annotations

import random

import pytest

from rabibridge_core._security.guard import Guard, ReplayedError
from rabibridge_core._security.replay import PAGE_SIZE, Mark, ReplayMemory, Verdict
from rabibridge_core._security.signature import Content
from rabibridge_core.errors import ReplayMemoryFullError, SignatureError
from tests.unit.signing_support import guard_of


def test_when_it_is_full_new_ones_are_refused_and_the_first_stays_remembered() -> None:
    memory = ReplayMemory(3)
    marks: list[Mark] = [("", f"sender{number}", 1) for number in range(4)]
    assert [memory.enter(mark, 100.0, 1.0) for mark in marks] == ["new", "new", "new", "full"]
    assert [memory.enter(mark, 100.0, 99.9) for mark in marks] == ["seen", "seen", "seen", "full"]
    assert memory.enter(marks[0], 100.0, 100.0) == "seen"  # exactly at the boundary
    assert memory.enter(marks[3], 200.0, 100.1) == "new"
    assert [memory.enter(mark, 100.0, 100.1) for mark in marks[:3]] == ["expired"] * 3
    assert len(memory) == 1


def test_a_clock_that_jumps_forth_and_back_lets_nothing_run_again() -> None:
    memory = ReplayMemory(1)
    assert memory.enter(("", "a", 1), 100.0, 1.0) == "new"
    assert memory.enter(("", "b", 1), 5000.0, 4000.0) == "new"  # the clock has jumped: a is forgotten
    assert memory.enter(("", "a", 1), 100.0, 2.0) == "expired"  # and back
    assert memory.enter(("", "b", 2), 5000.0, 2.0) == "new"


def test_many_numbers_of_one_sender_take_few_pages() -> None:
    memory = ReplayMemory(8)
    numbers = list(range(1, 4 * PAGE_SIZE))
    random.Random(1).shuffle(numbers)
    assert {memory.enter(("", "a", number), 100.0, 1.0) for number in numbers} == {"new"}
    assert {memory.enter(("", "a", number), 100.0, 1.0) for number in numbers} == {"seen"}
    assert len(memory) == 4


def test_it_agrees_with_a_set_that_forgets_nothing() -> None:
    source, memory = random.Random(7), ReplayMemory(40)
    ran: set[Mark] = set()
    now = 0.0
    for _ in range(20_000):
        now += source.random() * 0.01
        mark: Mark = ("", f"s{source.randrange(30)}", source.randrange(3000))
        until = float(mark[2] * 7 % 200)  # of a message: always the same
        verdict: Verdict = memory.enter(mark, until, now)
        if verdict == "new":
            assert mark not in ran
            ran.add(mark)
    assert len(ran) > 1000


@pytest.mark.parametrize("skew", [-29.0, 0.0, 29.0])
def test_a_replay_is_refused_at_every_second_until_it_has_expired(skew: float) -> None:
    now = [1_000_000.0]
    sender = guard_of(wall=lambda: now[0] + skew)
    receiver = guard_of(wall=lambda: now[0], capacity=2)
    others = guard_of(wall=lambda: now[0])
    sealed = sender.seal("request", b"1", Content(b"x", "t", None, None), timeout=20.0)
    assert _enters(receiver, sealed) == "new"
    end = now[0] + skew + 20.0 + 30.0
    for second in range(1, 120):
        now[0] = min(1_000_000.0 + second, end) if second < 100 else end + second
        _enters(receiver, others.seal("request", b"1", Content(b"x", "t", None, None), timeout=1.0))
        assert _enters(receiver, sealed) in ("seen", "expired")
    assert _enters(receiver, sealed) == "expired"


def test_what_comes_from_the_future_or_is_too_old_is_refused() -> None:
    now = [1_000_000.0]
    sender, receiver = guard_of(wall=lambda: now[0]), guard_of(wall=lambda: 1_000_000.0, max_age=100.0)
    verdicts = []
    for offset in (30.0, 31.0, -130.0, -131.0):
        now[0] = 1_000_000.0 + offset
        verdicts.append(
            _enters(receiver, sender.seal("request", b"1", Content(b"", "t", None, None), timeout=10_000.0))
        )
    assert verdicts == ["new", "expired", "new", "expired"]
    now[0] = 1_000_000.0 - 131.0
    assert _enters(receiver, sender.seal("request", b"1", Content(b"", "t", None, None))) == "expired"  # no deadline


def test_a_full_memory_is_a_typed_error() -> None:
    receiver = guard_of(capacity=1)
    assert _enters(receiver, guard_of().seal("request", b"1", Content(b"", "t", None, None))) == "new"
    opened = receiver.open("request", b"1", guard_of().seal("request", b"1", Content(b"", "t", None, None)))
    with pytest.raises(ReplayMemoryFullError, match="replay_capacity"):
        receiver.admit(opened)


def _enters(receiver: Guard, sealed: Content) -> str:
    opened = receiver.open("request", b"1", sealed) if sealed.headers else None
    assert opened is not None
    try:
        receiver.admit(opened)
    except ReplayedError:
        return "seen"
    except SignatureError:
        return "expired"
    return "new"

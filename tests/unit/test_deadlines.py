"""Many deadlines with few timers, and how much time a request has left."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._concurrency.deadlines import DeadlineWheel, time_remaining

PATIENCE = 90.0


async def test_it_fires_in_order_and_never_early() -> None:
    loop, fired = asyncio.get_running_loop(), asyncio.Queue[tuple[float, float]]()
    wheel = DeadlineWheel[float](loop, lambda seconds: fired.put_nowait((seconds, loop.time())))
    began = loop.time()
    with patch.object(loop, "time", lambda: began):  # all are added at once, however long that takes
        for seconds in (0.08, 0.02, 0.05, 0.0, -1.0):
            wheel.add(seconds, seconds)
    assert len(wheel) == 5
    order = []
    async with asyncio.timeout(PATIENCE):
        for _ in range(5):
            seconds, when = await fired.get()
            order.append(seconds)
            assert when - began >= seconds - 1e-9
    assert order == [-1.0, 0.0, 0.02, 0.05, 0.08]
    assert len(wheel) == 0


async def test_what_is_discarded_does_not_fire() -> None:
    fired, done = list[str](), asyncio.Event()

    def expired(key: str) -> None:
        fired.append(key)
        if key == "later":
            done.set()

    wheel = DeadlineWheel[str](asyncio.get_running_loop(), expired)
    slots = {key: wheel.add(key, 0.02) for key in "abc"}
    wheel.add("later", 0.06)
    wheel.discard("a", slots["a"])
    wheel.discard("a", slots["a"])
    wheel.discard("never added", slots["b"])
    wheel.discard("b", -1.0)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert sorted(fired) == ["b", "c", "later"]
    wheel.discard("b", slots["b"])  # after it has fired


async def test_clear_disarms_all() -> None:
    fired = list[str]()
    loop = asyncio.get_running_loop()
    wheel = DeadlineWheel[str](loop, fired.append)
    wheel.add("a", 0.01)
    wheel.clear()
    assert len(wheel) == 0
    passed = asyncio.Event()
    loop.call_later(0.05, passed.set)
    await passed.wait()
    assert fired == []


async def test_what_is_added_after_clear_fires() -> None:
    loop, fired = asyncio.get_running_loop(), asyncio.Queue[str]()
    wheel = DeadlineWheel[str](loop, fired.put_nowait)
    now = loop.time()
    with patch.object(loop, "time", lambda: now):  # both fall into one slot
        wheel.add("before", 0.02)
        wheel.clear()
        wheel.add("after", 0.02)
    assert len(wheel) == 1
    async with asyncio.timeout(PATIENCE):
        assert await fired.get() == "after"
    assert len(wheel) == 0


async def test_many_deadlines_share_few_timers() -> None:
    loop = asyncio.get_running_loop()
    wheel = DeadlineWheel[int](loop, lambda key: None)
    slots = {wheel.add(number, 30.0 + number / 100_000) for number in range(10_000)}
    assert len(slots) < 10
    assert len(wheel) == 10_000
    wheel.clear()


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(-1, 1000)), min_size=1, max_size=30))
async def test_no_slot_is_early_or_later_than_promised(steps: list[tuple[float, float]]) -> None:
    loop, now = asyncio.get_running_loop(), 1000.0
    wheel = DeadlineWheel[int](loop, lambda key: None)
    with patch.object(loop, "time", lambda: now):
        for key, (passed, seconds) in enumerate(steps):
            now += passed
            late = wheel.add(key, seconds) - (now + seconds)
            most = next(late for below, late in _LATE_BELOW if seconds < below)
            assert -1e-9 <= late <= most + 1e-9
    wheel.clear()


_LATE_BELOW = ((0.5, 1 / 1024), (8, 1 / 64), (60, 1 / 8), (600, 1), (float("inf"), 8))


async def test_what_is_added_while_a_slot_fires_has_one_of_its_own() -> None:
    loop, fired, done = asyncio.get_running_loop(), list[int](), asyncio.Event()

    def expired(key: int) -> None:
        fired.append(key)
        if key < 20:
            wheel.add(key + 10, 0.0)
        else:
            done.set()

    wheel = DeadlineWheel[int](loop, expired)
    for key in range(3):
        wheel.add(key, 0.01)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert {key % 10 for key in fired[:3]} == {0, 1, 2}
    wheel.clear()


async def test_a_key_that_raises_does_not_keep_the_others() -> None:
    loop, fired, reported = asyncio.get_running_loop(), list[int](), list[object]()
    done = asyncio.Event()

    def expired(key: int) -> None:
        fired.append(key)
        if len(fired) == 3:
            done.set()

    wheel = DeadlineWheel[int](loop, expired)
    loop.set_exception_handler(lambda _, context: reported.append(context))
    for key in range(3):
        wheel.add(key, 0.01)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert sorted(fired) == [0, 1, 2]
    assert reported == []


@given(st.floats(0.001, 1e6), st.floats(0, 2e9))
def test_equal_clocks(time_left: float, now: float) -> None:
    on_the_way = time_left / 2
    remaining = time_remaining(time_left, now + time_left - on_the_way, now)
    assert remaining is not None
    assert 0 < remaining <= time_left
    assert remaining == pytest.approx(time_left - on_the_way, abs=1e-5)


def test_what_is_not_told_does_not_count() -> None:
    assert time_remaining(None, None, 1000.0) is None
    assert time_remaining(5.0, None, 1000.0) == 5.0
    assert time_remaining(None, 1002.0, 1000.0) == 2.0
    assert time_remaining(None, 998.0, 1000.0) == -2.0


def test_the_smaller_one_holds() -> None:
    assert time_remaining(5.0, 1003.0, 1000.0) == 3.0
    assert time_remaining(5.0, 1060.0, 1000.0) == 5.0  # a worker whose clock is behind


def test_one_that_has_just_expired_is_too_late() -> None:
    # The broker counts from when the request reached the queue: it may deliver what is over by the caller's clock.
    for late in (0.0, 0.003, 0.05):
        remaining = time_remaining(5.0, 1000.0 - late, 1000.0)
        assert remaining is not None
        assert remaining <= 0


def test_what_is_long_over_may_have_another_clock() -> None:
    assert time_remaining(5.0, 900.0, 1000.0) == 5.0

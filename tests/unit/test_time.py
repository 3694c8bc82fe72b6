"""The rule: a call whose time is over does not run, and lateness is not taken for a wrong clock.

- The difference between the clocks of caller and worker is learned for each caller: the least age of its requests.
- What exceeds it is delay, whatever caused it, and uses up the time of the call.
- A wrong clock is believed in only when it is steady, and the log says so once.
- A caller whose clock is wrong by minutes still gets results.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._server.caller_clocks import MAX_CALLERS, CallerClocks, UnprovenTime
from rabibridge_core._server.service import ServiceRunner
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from tests.unit.scripted_requests import CODEC, ScriptedRequest, Work, until

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 5.0
SHIFTS = [-3600.0, -120.0, -1.0, 1.0, 8.0, 120.0, 86_400.0]


class World:
    """A worker's clocks, which only the test moves, and callers whose clocks may differ from them."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.set_by = 0.0
        self.clocks = CallerClocks(lambda: self.time + self.set_by, lambda: self.time)

    def arrives(
        self, delay: float = 0.001, *, behind: float = 0.0, timeout: float = TIMEOUT, caller: bytes = b"c"
    ) -> float:
        """Return what is left to a request that was sent so long ago, by a clock that is so far behind."""
        now = self.time + self.set_by
        return self.clocks.remaining(caller, timeout, self.time - delay - behind + timeout, now)

    def learn(self, caller: bytes = b"c", *, behind: float = 0.0) -> None:
        """Let requests of a caller arrive in time until its clock is known."""
        for _ in range(30):
            self.time += 0.5
            self.arrives(caller=caller, behind=behind)


@pytest.fixture
def world() -> World:
    return World()


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.01, 10), st.floats(0, 30)), min_size=1, max_size=30))
def test_clocks_that_agree(calls: list[tuple[float, float, float]]) -> None:
    world = World()
    world.learn()
    began = world.time
    for number, (pause, timeout, least) in enumerate(calls):
        world.time += pause
        delay = least + number % 2  # one that never changed would be taken for a clock that was set
        left = world.arrives(delay, timeout=timeout)
        assert type(left) is float
        drift = 0.02 * (1 + (world.time - began) // 30)  # clocks may drift as fast
        assert timeout - delay - 0.002 <= left <= timeout - delay + 0.002 + drift


@pytest.mark.parametrize("behind", SHIFTS)
def test_a_wrong_clock_gets_its_time(world: World, behind: float) -> None:
    first = world.arrives(behind=behind)
    if behind < 0 or behind > TIMEOUT:
        assert 0 < first <= TIMEOUT
    world.learn(behind=behind)
    expected = TIMEOUT - 1.0 if behind == 1.0 else TIMEOUT  # less than a timeout might be time in the queue
    assert world.arrives(behind=behind) == pytest.approx(expected, abs=0.01)
    assert world.arrives(3.0, behind=behind) == pytest.approx(expected - 3.0, abs=0.01)
    assert world.arrives(TIMEOUT + 0.01, behind=behind) <= 0
    assert world.arrives(60.0, behind=behind) <= 0


@pytest.mark.parametrize("behind", [-120.0, 120.0])
def test_a_wrong_clock_is_logged_once(world: World, behind: float, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for caller in (b"one", b"two"):
            world.learn(caller, behind=behind)
    (record,) = caplog.records
    assert "clock of a caller is 120.0" in record.getMessage()
    assert ("behind" if behind > 0 else "ahead of") in record.getMessage()


@pytest.mark.parametrize("stall", [1.2, 6.0, 25.0, 600.0])
def test_a_stall_of_all(world: World, stall: float, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that stands still, an alarm: what was sent meanwhile arrives at once."""
    callers = [b"one", b"two", b"three"]
    with caplog.at_level(logging.INFO):
        for caller in callers:
            world.learn(caller)
        world.time += stall
        for caller in callers:
            for number in range(100):
                delay = stall * number / 100
                assert world.arrives(delay, timeout=1.0, caller=caller) == pytest.approx(1.0 - delay, abs=0.01)
        new = world.arrives(stall, timeout=0.5, caller=b"connected just before")
        assert new <= 0
        world.time += 0.1
        assert world.arrives(caller=b"one") == pytest.approx(TIMEOUT, abs=0.01)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_slow_link(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What is sent over it arrives later and later, and in time again when it has been worked off."""
    world.learn()
    with caplog.at_level(logging.INFO):
        for number in range(600):
            world.time += 0.1
            delay = min(number, 600 - number) / 100
            assert world.arrives(delay, timeout=1.0) == pytest.approx(1.0 - delay, abs=0.01)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_long_queue(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Overload: every request waits for nearly its whole timeout, from the first one on."""
    with caplog.at_level(logging.INFO):
        for number in range(2000):
            world.time += 0.1
            wait = 0.8 + number % 10 / 100
            assert world.arrives(wait, timeout=1.0) == pytest.approx(1.0 - wait, abs=0.01)
    assert [record.getMessage() for record in caplog.records] == []


async def test_a_new_caller_whose_requests_waited_while_this_process_was_held() -> None:
    world = World()
    ticks = iter(_ticks(world))
    world.clocks.start()
    next(ticks)
    world.time += 2.0  # the loop is held: nothing ticks
    assert world.arrives(1.5, timeout=0.3, caller=b"new") <= 0
    late = world.arrives(600.0, timeout=0.3, caller=b"wrong clock")  # this delay was longer than the process was held
    assert type(late) is UnprovenTime
    world.clocks.stop()


def _ticks(world: World) -> Iterator[None]:
    while True:
        world.clocks._tick()
        yield


def test_decreasing_ages_are_a_delay(world: World) -> None:
    """A new caller's requests were sent over some time, and arrive together."""
    unproven = [(6.0 - number / 10, world.arrives(6.0 - number / 10, timeout=1.0)) for number in range(60)]
    for delay, left in unproven:
        now = world.time
        late = world.clocks.reconsidered(b"c", 1.0, now - delay + 1.0, now) <= 0
        assert late or left <= 0 or delay < 1.1
    assert world.arrives(timeout=1.0) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("step", [-7200.0, -3.0, 3.0, 7200.0])
def test_this_machines_clock_is_set(world: World, step: float) -> None:
    world.learn()
    world.learn(b"wrong", behind=120.0)
    world.set_by = step
    for _ in range(3):
        world.time += 1.0
        assert world.arrives(timeout=1.0) == pytest.approx(1.0, abs=0.01)
        assert world.arrives(timeout=1.0, caller=b"wrong", behind=120.0) == pytest.approx(1.0, abs=0.01)
        assert world.arrives(2.0, timeout=1.0) <= 0


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_callers_clock_is_set(world: World, step: float, caplog: pytest.LogCaptureFixture) -> None:
    world.learn()
    with caplog.at_level(logging.INFO):
        outcomes = []
        for _ in range(100):
            world.time += 0.5
            outcomes.append(world.arrives(behind=step))
    assert outcomes[-1] == pytest.approx(TIMEOUT, abs=0.01)
    assert len(caplog.records) == 1
    assert world.arrives(TIMEOUT + 0.01, behind=step) <= 0


def test_slow_drift_is_followed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for drift in (number / 1000 for number in range(2000)):  # 2 s in 5 hours
            left = 0.0
            for _ in range(9):
                world.time += 1.0
                left = world.arrives(behind=drift)
            assert left == pytest.approx(TIMEOUT, abs=0.1)
    assert [record.getMessage() for record in caplog.records] == []


def test_the_wait_in_a_queue_that_never_empties_is_not_taken_for_drift(world: World) -> None:
    world.learn()
    for number in range(6000):  # ten minutes of overload, in which a request waits for 50 ms
        world.time += 0.1
        if number % 10 == 0:
            world.clocks.standing_queue()
        left = world.arrives(0.05)
        assert left == pytest.approx(TIMEOUT - 0.049, abs=0.002)


def test_memory_is_bounded(world: World) -> None:
    for number in range(3 * MAX_CALLERS):
        world.arrives(caller=b"%d" % number)
        world.arrives(caller=b"busy", behind=-9.0)
    assert len(world.clocks) <= MAX_CALLERS
    assert world.arrives(caller=b"busy", behind=-9.0) == pytest.approx(TIMEOUT)


def _service(world: World, work: Work, **limits: Any) -> ServiceRunner:
    schema = ServiceSchema.of(work.work, ServiceLimits(**limits))
    return ServiceRunner(schema, CODEC, CallHooks(PluginManager()), clocks=world.clocks)


_ids = count()


def _request(world: World, delay: float, *, timeout: float = TIMEOUT, caller: bytes = b"c") -> ScriptedRequest:
    request = ScriptedRequest(time_left=timeout, caller=caller, correlation_id=b"%d" % next(_ids))
    request.deadline = world.time - delay + timeout
    return request


@pytest.mark.parametrize("known", [True, False])
def test_the_clocks_of_the_worker_and_of_a_caller_on_its_machine_are_set(world: World, known: bool) -> None:
    world.learn(b"elsewhere")
    if known:
        world.learn()
    for step in (-3600.0, -120.0, 8.0, -8.0, 120.0, 86_400.0):  # by less than TIMEOUT looks like a delay
        world.time, world.set_by = world.time + 1.0, world.set_by + step
        world.arrives(caller=b"elsewhere")
        world.arrives(0.05, behind=-world.set_by + step)  # it was sent before the clocks were set
        for _ in range(3):
            world.time += 0.5
            assert TIMEOUT - 0.2 < world.arrives(behind=-world.set_by) <= TIMEOUT
            assert TIMEOUT - 0.2 < world.arrives(caller=b"elsewhere") <= TIMEOUT
        assert world.arrives(behind=-world.set_by, delay=TIMEOUT + 0.2) < 0


async def test_what_is_late_does_not_run(world: World) -> None:
    work = Work()
    work.release.set()
    service = _service(world, work)
    world.learn()
    late, in_time = _request(world, 6.0), _request(world, 1.0)
    service.received(late)
    service.received(in_time)
    await until(lambda: in_time.settled and late.settled)
    assert (late.events, in_time.events) == (["discarded"], ["replied"])
    assert len(work.started) == 1


async def test_the_first_call_of_a_caller_with_a_wrong_clock_runs(world: World) -> None:
    work = Work()
    work.release.set()
    service = _service(world, work)
    request = _request(world, 300.0)
    service.received(request)
    await until(lambda: request.settled)
    assert request.events == ["replied"]


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
async def test_one_that_may_be_late_can_be_cancelled_before_it_runs(world: World, delivery: Any) -> None:
    """It was held up in front of the broker, and its caller has given up: the cancellation comes right behind it."""
    work = Work()
    service = _service(world, work, delivery=delivery)
    request = _request(world, 300.0)
    service.received(request)
    await asyncio.sleep(0)
    service.cancelled(request.caller, request.correlation_id)
    await until(lambda: request.settled)
    assert request.events == ["discarded"]
    assert work.started == []


async def test_one_that_has_waited_in_the_worker(world: World) -> None:
    work = Work()
    service = _service(world, work, fetch_size=1, fetch_ahead=1)
    first, second = _request(world, 0.0, timeout=30.0), _request(world, 0.0, timeout=30.0)
    for request in (first, second):
        service.received(request)
    await until(lambda: work.started)
    (waiting,) = (active for active in service._active if active.task is None)
    waiting.ends_at = 0.0  # the event loop was held: its timer has not fired yet
    work.release.set()
    await until(lambda: second.settled)
    assert (first.events, second.events) == (["replied"], ["discarded"])
    assert len(work.started) == 1

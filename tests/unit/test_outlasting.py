"""Functions in threads that never return, threads that cannot be started, and what a failing function leaves behind."""

from __future__ import annotations

import gc
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._protocol.remote_errors import EXECUTION, REQUEST_REJECTED
from tests.support.waiting import longer
from tests.unit.scripted_requests import ScriptedRequest, ThreadWork, make_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core._server.service import ServiceRunner


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No thread of a service can be started until the event is set, as with a limit of the system."""
    allowed, start = threading.Event(), threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("rabibridge-") and not allowed.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    yield allowed
    allowed.set()


async def _outlasts(service: ServiceRunner, work: ThreadWork, number: int) -> None:
    """Let a call start that takes longer than it may."""
    for time_left in longer(0.01):
        service.received(ScriptedRequest((number,), time_left=time_left, correlation_id=b"%d" % number))
        await until(lambda: len(work.started) > number or service.active_requests == number)
        if len(work.started) > number:  # its time was enough to start
            return


async def test_all_places_are_held_by_functions_that_do_not_return(caplog: pytest.LogCaptureFixture) -> None:
    work = ThreadWork()
    service = make_service(work.work, fetch_size=2)
    await _outlasts(service, work, 0)
    await until(lambda: all(active.cancelled for active in service._active))
    service._maintain()
    assert (service.problem, caplog.messages) == ("", [])  # one place is free
    await _outlasts(service, work, 1)
    await until(lambda: all(active.cancelled for active in service._active))
    service._maintain()
    service._maintain()
    assert "all of its 2 places are held" in service.problem
    (line,) = caplog.messages
    assert "'work': all of its 2 places are held by functions that run on" in line
    work.release.set()
    await until(lambda: not service.active_requests)
    assert service.problem == ""
    await service.stop(0)


async def test_a_thread_that_cannot_be_started(no_threads: threading.Event) -> None:
    ran: list[int] = []

    def work(what: int) -> int:
        ran.append(what)
        return what

    service = make_service(work, fetch_size=2)
    for number in range(3):
        request = ScriptedRequest((number,))
        service.received(request)
        await until(lambda: not service.active_requests)
        assert request.error["rb-error"] == REQUEST_REJECTED  # it did not run
        assert request.error["rb-error-message"] == "can't start new thread"
        assert "no thread can be started: can't start new thread" in service.problem
    no_threads.set()
    requests = [ScriptedRequest((number,), correlation_id=b"%d" % number) for number in range(3, 8)]
    for request in requests:
        service.received(request)
    await until(lambda: not service.active_requests)
    assert [request.answer for request in requests] == [[0, number] for number in range(3, 8)]
    assert sorted(ran) == [3, 4, 5, 6, 7]  # and what was refused does not run later
    assert service.problem == ""
    await service.stop(0)


@pytest.mark.parametrize("kind", ["async", "thread", "arguments"])
async def test_a_function_that_raises_leaves_nothing_for_the_collector(kind: str) -> None:
    class OwnError(Exception):
        pass

    async def fail() -> None:
        raise OwnError

    def fail_in_a_thread() -> None:
        raise OwnError

    service = make_service(fail_in_a_thread if kind == "thread" else fail)
    logging.getLogger("rabibridge_core._server.failure_log").disabled = True
    gc.collect()
    before = sum(type(left) is TypeError for left in gc.get_objects())
    gc.disable()
    try:
        for _ in range(3):
            request = ScriptedRequest((1,) if kind == "arguments" else ())
            service.received(request)
            await until(lambda: not service.active_requests)
            assert request.error["rb-error"] == ("arguments" if kind == "arguments" else EXECUTION)
        kinds = (OwnError, TypeError)
        # The thread lets go of what it raised after it has told the loop.
        await until(lambda: sum(type(thing) in kinds for thing in gc.get_objects()) == before)
    finally:
        gc.enable()
        logging.getLogger("rabibridge_core._server.failure_log").disabled = False
    await service.stop(0)

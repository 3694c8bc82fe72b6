"""Requests that no caller waits for: cancelled, or sent by a caller that has disconnected."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from rabibridge_core._concurrency.background import repeat
from rabibridge_core._observability.call_context import current_call, current_call_var, inherited_time
from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.cancelled_calls import MAX_CALLERS, MAX_CALLS
from tests.unit.scripted_requests import Clock, ScriptedRequest, ThreadWork, Work, make_service, turns, until


async def test_a_handler_that_runs_is_cancelled() -> None:
    work = Work()
    service = make_service(work.work)
    stopped, other, foreign = (
        ScriptedRequest(("stopped",), correlation_id=b"7"),
        ScriptedRequest(("other",), correlation_id=b"8"),
        ScriptedRequest(("foreign",), correlation_id=b"7", caller=b"somebody else"),
    )
    for request in (stopped, other, foreign):
        service.received(request)
    await until(lambda: len(work.started) == 3)
    service.cancelled(b"caller", b"7")
    await until(lambda: service.active_requests == 2)
    assert (work.cancelled, stopped.events) == (["stopped"], ["discarded"])
    work.release.set()
    await until(lambda: not service.active_requests)
    assert [other.answer, foreign.answer] == [[0, "done other"], [0, "done foreign"]]


async def test_a_request_cancelled_before_its_task_starts_never_runs() -> None:
    work = Work()
    service = make_service(work.work)
    request = ScriptedRequest()
    service.received(request)
    service.cancelled(request.caller, request.correlation_id)  # before the first step of its task
    await until(lambda: not service.active_requests)
    assert (work.started, request.events) == ([], ["discarded"])


async def test_a_request_that_arrives_after_its_cancellation_never_runs() -> None:
    work = Work()
    service = make_service(work.work)
    work.release.set()
    service.cancelled(b"caller", b"1")
    await turns()
    early, later, again = ScriptedRequest(), ScriptedRequest(correlation_id=b"2"), ScriptedRequest()
    for request in (early, later, again):
        service.received(request)
    await until(lambda: not service.active_requests)
    assert (early.events, later.events) == (["discarded"], ["replied"])
    assert again.events == ["replied"]  # one call was cancelled, not all later ones with this id


async def test_a_cancellation_that_comes_after_the_answer() -> None:
    work = Work()
    service = make_service(work.work)
    work.release.set()
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: not service.active_requests)
    service.cancelled(request.caller, request.correlation_id)
    await turns()
    assert request.events == ["replied"]


async def test_a_cancellation_that_names_no_call_is_none() -> None:
    work = Work()
    service = make_service(work.work)
    work.release.set()
    service.cancelled(b"caller", b"")
    request = ScriptedRequest(correlation_id=b"")
    service.received(request)
    await until(lambda: not service.active_requests)
    assert request.events == ["replied"]


async def test_a_handler_in_a_thread_can_see_it_and_its_result_is_discarded() -> None:
    seen: list[bool] = []
    work = ThreadWork()

    def look() -> str:
        seen.append(current_call().cancelled)
        work.work()
        seen.append(current_call().cancelled)
        return "result"

    service = make_service(look)
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: work.started)
    service.cancelled(request.caller, request.correlation_id)
    await turns()
    assert request.events == []  # its thread is still at work: no other request gets its place
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (seen, request.events) == ([False, True], ["discarded"])
    await service.stop(0)


async def test_one_that_waits_for_a_thread_never_begins() -> None:
    work = ThreadWork()
    service = make_service(work.work, fetch_size=1)
    first, second = ScriptedRequest(("first",)), ScriptedRequest(("second",), correlation_id=b"2")
    service.received(first)
    service.received(second)
    await until(lambda: work.started)
    service.cancelled(second.caller, second.correlation_id)
    await until(lambda: service.active_requests == 1)
    assert second.events == ["discarded"]  # without waiting for the thread
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (work.started, first.answer) == (["first"], [0, "done first"])
    await service.stop(0)


@pytest.mark.parametrize("ending", ["result", "error"])
async def test_a_handler_that_swallows_its_cancellation_is_not_answered(ending: str) -> None:
    began = asyncio.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        if ending == "error":
            raise ValueError("cleaning up failed")
        return "result"

    service = make_service(stubborn)
    request = ScriptedRequest()
    service.received(request)
    await began.wait()
    service.cancelled(request.caller, request.correlation_id)
    await until(lambda: not service.active_requests)
    assert request.events == ["discarded"]


async def test_a_thousand_at_once() -> None:
    work = Work()
    service = make_service(work.work)
    requests = [ScriptedRequest((number,), correlation_id=b"%d" % number) for number in range(1000)]
    for request in requests:
        service.received(request)
    await until(lambda: len(work.started) == 1000)
    for request in requests:
        service.cancelled(request.caller, request.correlation_id)
    await until(lambda: not service.active_requests)
    assert sorted(work.cancelled) == list(range(1000))
    assert all(request.events == ["discarded"] for request in requests)


async def test_a_caller_that_is_gone() -> None:
    work = Work()
    service = make_service(work.work)
    gone, persistent, other = (
        ScriptedRequest(("gone",)),
        ScriptedRequest(("persistent",), correlation_id=b"2", persistent=True),
        ScriptedRequest(("other",), caller=b"other"),
    )
    for request in (gone, persistent, other):
        service.received(request)
    await until(lambda: len(work.started) == 3)
    service.caller_gone(b"caller")
    await until(lambda: service.active_requests == 2)
    assert work.cancelled == ["gone"]
    late, late_persistent = ScriptedRequest(("late",)), ScriptedRequest(("late persistent",), persistent=True)
    service.received(late)
    service.received(late_persistent)
    work.release.set()
    await until(lambda: not service.active_requests)
    assert sorted(work.finished) == ["late persistent", "other", "persistent"]
    assert (gone.events, late.events) == (["discarded"], ["discarded"])


async def test_remembered_cancellations_are_bounded_and_the_oldest_are_dropped() -> None:
    work, clock = Work(), Clock()
    service = make_service(work.work, clock=clock)
    work.release.set()
    for number in range(MAX_CALLS + 1):
        service.cancelled(b"caller", b"%d" % number)
    for number in range(MAX_CALLERS + 1):
        service.caller_gone(b"caller %d" % number)
    await turns()
    assert len(service._cancelled_calls) == MAX_CALLS + MAX_CALLERS

    async def runs(correlation_id: bytes, caller: bytes = b"caller") -> bool:
        request = ScriptedRequest(correlation_id=correlation_id, caller=caller)
        service.received(request)
        await until(lambda: not service.active_requests)
        return request.events == ["replied"]

    assert [await runs(b"0"), await runs(b"1")] == [True, False]
    assert [await runs(b"1", b"caller 0"), await runs(b"1", b"caller 1")] == [True, False]
    clock.now += 3601  # the ids may have been reused meanwhile
    assert await runs(b"2")


async def test_callers_of_long_running_requests_are_probed() -> None:
    work = Work()
    service = make_service(work.work)
    requests = [
        ScriptedRequest(correlation_id=b"1"),
        ScriptedRequest(correlation_id=b"2"),
        ScriptedRequest(caller=b"other"),
        ScriptedRequest(caller=b"patient", persistent=True),
    ]
    for request in requests:
        service.received(request)
    service._maintain()
    assert all(request.events == [] for request in requests)  # they have just arrived
    service._maintain()
    probed = [request.caller for request in requests if request.events == ["probed"]]
    assert sorted(probed) == [b"caller", b"other"]  # one request of each caller
    regularly = asyncio.create_task(repeat(0.01, service._maintain))
    await until(lambda: sum(len(request.events) for request in requests) >= 10)  # repeatedly, by timer
    regularly.cancel()
    await service.stop(0)


async def test_current_call_and_what_nested_calls_inherit() -> None:
    seen: list[Any] = []
    tasks: list[asyncio.Task[float | None]] = []
    over = asyncio.Event()

    async def later() -> float | None:
        await over.wait()
        return inherited_time()

    async def ask() -> None:
        call = current_call()
        seen.extend([call.service, call.correlation_id, call.redelivered, call.headers, call.cancelled])
        left, inherited = call.time_left, inherited_time()
        assert left is not None
        assert inherited is not None
        seen.append(50 < left <= 60 and 50 < inherited <= 60)
        tasks.append(asyncio.create_task(later()))

    service = make_service(ask)
    service.received(ScriptedRequest(time_left=60.0, headers={"x": 1}, redelivered=True))
    await until(lambda: not service.active_requests)
    assert seen == ["ask", "1", True, {"x": 1}, False, True]
    over.set()
    assert await tasks[0] is None  # a task that outlives the call inherits nothing
    with pytest.raises(LookupError, match="outside a handler"):
        current_call()


async def test_a_request_leaves_nothing_behind() -> None:
    calls: list[weakref.ref[asyncio.Task[Any]]] = []

    async def note() -> None:
        assert isinstance(current_call_var.get(), ActiveRequest)
        task = asyncio.current_task()
        assert task is not None
        calls.append(weakref.ref(task))

    service = make_service(note)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            service.received(ScriptedRequest())
        await until(lambda: not service.active_requests)
        await turns()
        assert [call() for call in calls] == [None] * 10  # without the garbage collector
    finally:
        gc.enable()

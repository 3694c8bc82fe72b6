"""How requests are settled: when handlers raise, when requests are unreadable, and when a service stops."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from rabibridge_core._concurrency.background import repeat
from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.remote_errors import DEAD, EXECUTION, REQUEST_REJECTED
from rabibridge_core.errors import ConnectionLostError
from tests.unit.scripted_requests import (
    PATIENCE,
    ScriptedRequest,
    ThreadWork,
    Work,
    make_service,
    outlasting,
    turns,
    until,
)

RAISED = [
    ValueError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseException("x"),
    BaseExceptionGroup("x", [SystemExit(1)]),
    StopIteration(1),
    StopAsyncIteration(),
    asyncio.CancelledError("its own"),
    TimeoutError("x"),
]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["async", "thread", "validated"])
async def test_any_exception_of_a_handler_becomes_an_error_reply(raised: BaseException, kind: str) -> None:
    async def fail(really: bool = True) -> str:
        if really:
            raise raised
        return "fine"

    def fail_in_a_thread(really: bool = True) -> str:
        if really:
            raise raised
        return "fine"

    service = make_service(fail_in_a_thread if kind == "thread" else fail, validate=kind == "validated")
    failing, after = ScriptedRequest(), ScriptedRequest((False,), correlation_id=b"2")
    service.received(failing)
    service.received(after)
    await until(lambda: not service.active_requests)
    assert after.answer == [0, "fine"]
    assert failing.error["rb-error"] == EXECUTION
    expected = "RuntimeError" if isinstance(raised, StopIteration) else type(raised).__name__
    assert failing.error["rb-error-type"].endswith(expected)
    assert expected in failing.answer[1]
    await service.stop(0)


@pytest.mark.parametrize("caught", [False, True])
async def test_a_handler_that_cancels_its_own_task_runs_once_and_its_caller_is_told(caught: bool) -> None:
    runs = 0

    async def cancel() -> str:
        nonlocal runs
        runs += 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not caught:
                raise
        return "result"

    service = make_service(cancel)
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: not service.active_requests)
    assert (request.events, runs) == (["replied"], 1)
    if caught:
        assert request.answer == [0, "result"]
    else:
        assert request.error["rb-error"] == EXECUTION
        assert request.error["rb-error-type"] == "asyncio.exceptions.CancelledError"
        assert "cancelled from inside" in request.error["rb-error-message"]


def test_the_requests_of_a_program_that_ends_are_requeued() -> None:
    """As ``asyncio.run()`` ends a program: all tasks are cancelled at once."""
    cancelled, request = list[Any](), ScriptedRequest()

    async def main() -> None:
        work = Work()
        service = make_service(work.work)
        service._maintenance = asyncio.create_task(repeat(60.0, service._maintain))
        service.received(request)
        await until(lambda: work.started)
        work.cancelled = cancelled

    asyncio.run(main())
    assert (request.events, cancelled) == (["requeued"], [None])


@pytest.mark.parametrize(("deliveries", "runs"), [(0, True), (2, True), (3, False)])
@pytest.mark.parametrize("wants_reply", [True, False])
async def test_a_request_that_was_redelivered_too_often(deliveries: int, runs: bool, wants_reply: bool) -> None:
    work = Work()
    work.release.set()
    service = make_service(work.work, redelivery_limit=2)
    request = ScriptedRequest(redelivered=True, deliveries=deliveries, wants_reply=wants_reply)
    service.received(request)
    await until(lambda: not service.active_requests)
    assert (work.started == [None]) is runs
    if runs:
        assert request.events == (["replied"] if wants_reply else ["discarded"])
        return
    assert request.events == ["dead"]
    for word in ("'work'", "3 times", "redelivery_limit=2"):
        assert word in request.reason
    assert bool(request.replies) is wants_reply
    if wants_reply:
        assert (request.error["rb-error"], request.error["rb-error-message"]) == (DEAD, request.reason)


async def test_an_unreadable_request_is_refused_or_dead_lettered(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    service = make_service(work.work)
    answered, dead = ScriptedRequest(), [ScriptedRequest(wants_reply=False) for _ in range(3)]
    for request in (answered, *dead):
        request.body = b"\xc1"
        service.received(request)
    await until(lambda: not service.active_requests)
    assert answered.events == ["replied"]
    assert answered.error["rb-error"] == REQUEST_REJECTED
    for request in dead:
        assert request.events == ["dead"]
        assert "could not be read" in request.reason
    service._maintain()
    assert ["could not be read" in record.getMessage() for record in caplog.records] == [True, True]
    assert "3 more" in caplog.records[1].getMessage()  # not one line for each of them
    await service.stop(0)


async def test_a_lost_channel_stops_its_own_requests_only() -> None:
    work = Work()
    service = make_service(work.work)
    void, other = ScriptedRequest(("void",)), ScriptedRequest(("other",), correlation_id=b"2")
    service.received(void)
    service.received(other)
    await until(lambda: len(work.started) == 2)
    void.void = True
    service.lost(ConnectionLostError("gone"))
    await until(lambda: service.active_requests == 1)
    assert (work.cancelled, void.events) == (["void"], [])
    work.release.set()
    await until(lambda: not service.active_requests)
    assert other.answer == [0, "done other"]


async def test_a_channel_without_requests_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    service = make_service(work.work)
    request = ScriptedRequest()
    service.received(request)
    with caplog.at_level(logging.INFO):
        service.lost(ConnectionLostError("gone"))
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (request.events, caplog.records) == (["replied"], [])


async def test_an_expired_handler_is_stopped_and_a_late_request_never_begins() -> None:
    work = Work()
    service = make_service(work.work)
    late = ScriptedRequest(time_left=0.0)
    service.received(late)
    expires = await outlasting(service, lambda: work.started, 0.02)
    await until(lambda: not service.active_requests)
    assert (work.started, work.cancelled) == ([None], [None])
    assert expires.events == late.events == ["discarded"]


async def test_a_handler_in_a_thread_sees_that_its_call_expired() -> None:
    work, seen = ThreadWork(), list[Any]()

    def look() -> None:
        work.work()
        seen.append((current_call().cancelled, current_call().time_left))

    service = make_service(look)
    request = await outlasting(service, lambda: work.started, 0.02)
    (active,) = service._active
    await until(lambda: active.cancelled)
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (seen, request.events) == ([(True, 0.0)], ["discarded"])
    await service.stop(0)


@pytest.mark.parametrize("ending", ["result", "error", "cancelled"])
async def test_a_handler_that_is_stopped_by_draining(ending: str) -> None:
    began = asyncio.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ending == "cancelled":
                raise
        if ending == "error":
            raise ValueError("interrupted")
        return "result"

    service = make_service(stubborn)
    request = ScriptedRequest()
    service.received(request)
    await began.wait()
    await asyncio.wait_for(service.stop(0), PATIENCE)
    # A result is sent. An error was caused by stopping the handler: another worker may succeed.
    assert request.events == (["replied"] if ending == "result" else ["requeued"])


async def test_draining_waits_for_active_requests_and_can_be_aborted() -> None:
    work = Work()
    service = make_service(work.work)
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: work.started)
    stopping = asyncio.create_task(service.stop(PATIENCE))
    await turns()
    assert not stopping.done()
    service.abort_drain()
    await asyncio.wait_for(stopping, PATIENCE)
    assert (request.events, work.cancelled) == (["requeued"], [None])


async def test_a_thread_cannot_be_stopped_by_draining_and_its_result_is_dropped() -> None:
    work = ThreadWork()
    service = make_service(work.work)
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: work.started)
    await asyncio.wait_for(service.stop(0), PATIENCE)
    assert request.events == ["requeued"]
    work.release.set()
    await until(lambda: not service.active_requests)
    assert request.events == ["requeued"]


async def test_a_call_that_waited_in_the_queue_for_most_of_its_time_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    service = make_service(hang)
    with caplog.at_level(logging.WARNING):
        for correlation_id in (b"1", b"2"):
            request = ScriptedRequest(correlation_id=correlation_id, time_left=5.0)
            request.deadline = time.time() + 0.05
            service.received(request)
        await until(lambda: not service.active_requests)
    assert [record.getMessage() for record in caplog.records] == []
    await service.stop(0)

"""Services that run a call at most once."""

from __future__ import annotations

import asyncio

import pytest

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.remote_errors import INVALID_ARGUMENTS, REDELIVERED, REQUEST_REJECTED
from rabibridge_core.errors import ConnectionLostError
from tests.unit.scripted_requests import PATIENCE, ScriptedRequest, ThreadWork, Work, keyed, make_service, turns, until

AT_MOST_ONCE = "at-most-once"


def _requests(number: int) -> list[ScriptedRequest]:
    return [ScriptedRequest((index,), correlation_id=b"%d" % index) for index in range(number)]


async def test_a_request_is_acknowledged_before_the_handler_starts() -> None:
    request = ScriptedRequest()

    async def look() -> list[str]:
        return list(request.events)

    service = make_service(look, delivery=AT_MOST_ONCE)
    service.received(request)
    await until(lambda: not service.active_requests)
    assert request.events == ["accepted", "replied"]
    assert request.answer == [0, ["accepted"]]


async def test_requests_over_the_limit_are_queued_in_order_and_not_settled() -> None:
    work = Work()
    service = make_service(work.work, delivery=AT_MOST_ONCE, fetch_size=2)
    requests = _requests(6)
    for request in requests:
        service.received(request)
    await until(lambda: len(work.started) == 2)
    await turns()
    assert (work.started, service.active_requests) == ([0, 1], 6)
    assert [request.events for request in requests[2:]] == [[]] * 4
    work.release.set()
    await until(lambda: not service.active_requests)
    assert work.started == [0, 1, 2, 3, 4, 5]
    assert all(request.events == ["accepted", "replied"] for request in requests)


async def test_as_many_threads_as_run_at_a_time() -> None:
    work = ThreadWork()
    service = make_service(work.work, delivery=AT_MOST_ONCE, fetch_size=2)
    requests = _requests(5)
    for request in requests:
        service.received(request)
    await until(lambda: len(work.started) == 2)
    assert sum(request.events == ["accepted"] for request in requests) == 2
    work.release.set()
    await until(lambda: not service.active_requests)
    assert all(request.events == ["accepted", "replied"] for request in requests)
    await service.stop(0)


async def test_a_redelivered_request_never_runs() -> None:
    work = Work()
    service = make_service(work.work, delivery=AT_MOST_ONCE)
    answered = ScriptedRequest(redelivered=True)
    silent = ScriptedRequest(redelivered=True, wants_reply=False)
    service.received(answered)
    service.received(silent)
    await turns()
    assert (work.started, service.active_requests) == ([], 0)
    assert answered.events == ["replied"]
    assert answered.error["rb-error"] == REDELIVERED
    for word in ("'work'", "gone", "may have run"):
        assert word in answered.error["rb-error-message"]
    assert silent.events == ["dead"]
    assert "may have run" in silent.reason


async def test_a_queued_request_can_be_cancelled_expire_or_become_void() -> None:
    work = Work()
    service = make_service(work.work, delivery=AT_MOST_ONCE, fetch_size=1)
    running, cancelled, void, follows = _requests(4)
    expires = ScriptedRequest(("expires",), correlation_id=b"e", time_left=0.02)
    late = ScriptedRequest(("late",), correlation_id=b"l", time_left=0.0)
    for request in (running, cancelled, void, expires, late, follows):
        service.received(request)
    await until(lambda: work.started)
    assert late.events == ["discarded"]
    service.cancelled(cancelled.caller, cancelled.correlation_id)
    void.void = True
    service.lost(ConnectionLostError("gone"))
    await until(lambda: service.active_requests == 2)
    assert [request.events for request in (cancelled, void, expires)] == [["discarded"], [], ["discarded"]]
    work.release.set()
    await until(lambda: not service.active_requests)
    assert work.started == [0, 3]
    assert follows.answer == [0, "done 3"]


async def test_time_in_the_queue_counts() -> None:
    work = Work()
    left: list[float | None] = []

    async def look(what: str) -> None:
        left.append(current_call().time_left)
        await work.work(what)

    service = make_service(look, delivery=AT_MOST_ONCE, fetch_size=1)
    for what in ("first", "second"):
        service.received(ScriptedRequest((what,), time_left=PATIENCE, correlation_id=what.encode()))
    await until(lambda: work.started)
    await asyncio.sleep(0.05)
    work.release.set()
    await until(lambda: not service.active_requests)
    assert left[1] is not None
    assert left[1] <= PATIENCE - 0.05


async def test_a_lost_connection_does_not_stop_a_running_handler() -> None:
    work = Work()
    service = make_service(work.work, delivery=AT_MOST_ONCE)
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: work.started)
    request.void = True
    service.lost(ConnectionLostError("gone"))
    await turns()
    assert work.cancelled == []  # no other worker will run it
    work.release.set()
    await until(lambda: not service.active_requests)
    assert work.finished == [None]


async def test_draining_runs_queued_requests() -> None:
    work = Work()
    service = make_service(work.work, delivery=AT_MOST_ONCE, fetch_size=1)
    requests = _requests(3)
    for request in requests:
        service.received(request)
    await until(lambda: work.started)
    stopping = asyncio.create_task(service.stop(PATIENCE))
    await turns()
    assert not stopping.done()
    work.release.set()
    await asyncio.wait_for(stopping, PATIENCE)
    assert work.finished == [0, 1, 2]


@pytest.mark.parametrize("kind", ["async", "stubborn", "thread"])
async def test_after_the_drain_timeout(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge_core._server.stopping._CANCEL_GRACE", 0.01)
    work, in_a_thread, release = Work(), ThreadWork(), asyncio.Event()

    async def stubborn(what: int) -> None:
        try:
            await work.work(what)
        except asyncio.CancelledError:
            await release.wait()

    handlers = {"async": work.work, "stubborn": stubborn, "thread": in_a_thread.work}
    service = make_service(handlers[kind], delivery=AT_MOST_ONCE, fetch_size=1)
    running, waiting = _requests(2)
    service.received(running)
    service.received(waiting)
    await until(lambda: work.started or in_a_thread.started)
    await asyncio.wait_for(service.stop(0), PATIENCE)
    # Another worker could not know that it was not begun, and would refuse it: its caller is told that it did not run.
    assert waiting.events == ["replied"]
    assert waiting.error["rb-error"] == REQUEST_REJECTED
    assert "did not run" in waiting.error["rb-error-message"]
    assert running.events == ["accepted", "replied"]  # its caller is told immediately that it may have run
    assert running.error["rb-error"] == REDELIVERED
    assert "in part" in running.error["rb-error-message"]
    release.set()
    in_a_thread.release.set()
    await until(lambda: not service.active_requests)
    assert running.events == ["accepted", "replied"]
    assert work.started + in_a_thread.started == [0]


async def test_an_at_most_once_service_refuses_what_may_be_sent_again() -> None:
    runs = 0

    async def count() -> None:
        nonlocal runs
        runs += 1

    service = make_service(count, delivery="at-most-once")
    request = keyed()
    service.received(request)
    await until(lambda: not service.active_requests)
    assert runs == 0
    assert request.error["rb-error"] == INVALID_ARGUMENTS
    assert "at-most-once" in request.error["rb-error-message"]
    await service.stop(0)

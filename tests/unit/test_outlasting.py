"""Functions in threads that never return, threads that cannot be started, and what a failing function leaves behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._protocol.remote_errors import EXECUTION, REQUEST_REJECTED
from tests.unit.scripted_requests import ScriptedRequest, ThreadWork, make_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator


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


async def test_all_places_are_held_by_functions_that_do_not_return(caplog: pytest.LogCaptureFixture) -> None:
    work = ThreadWork()
    service = make_service(work.work, fetch_size=2)
    requests = [ScriptedRequest((number,), time_left=0.01, correlation_id=b"%d" % number) for number in range(2)]
    service.received(requests[0])
    await until(lambda: len(work.started) == 1)
    await until(lambda: all(active.cancelled for active in service._active))
    service._maintain()
    assert (service.problem, caplog.messages) == ("", [])  # one place is free
    service.received(requests[1])
    await until(lambda: len(work.started) == 2)
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
    gc.disable()
    try:
        for _ in range(3):
            request = ScriptedRequest((1,) if kind == "arguments" else ())
            service.received(request)
            await until(lambda: not service.active_requests)
            assert request.error["rb-error"] == ("arguments" if kind == "arguments" else EXECUTION)
        await asyncio.sleep(0)
        assert not [left for left in gc.get_objects() if type(left) in (OwnError, TypeError)]
    finally:
        gc.enable()
        logging.getLogger("rabibridge_core._server.failure_log").disabled = False
    await service.stop(0)


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    formatter = logging.Formatter("%(levelname)s %(message)s")
    return [formatter.format(record) for record in caplog.records]


async def test_failures_are_logged_with_their_traceback_a_few_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    async def divide(number: int) -> float:
        return 1 / number

    service = make_service(divide)
    for _ in range(20):
        service.received(ScriptedRequest((0,)))
    await until(lambda: not service.active_requests)
    service._maintain()
    first, summary = _lines(caplog)
    assert first.startswith("WARNING service 'divide' raised builtins.ZeroDivisionError: division by zero\n")
    assert "in divide" in first
    assert "return 1 / number" in first
    assert summary == "WARNING service 'divide': 19 more times: it raised builtins.ZeroDivisionError"
    record = caplog.records[0]
    assert record.exc_info is not None  # for handlers that send it elsewhere
    assert record.exc_info[0] is ZeroDivisionError
    service.received(ScriptedRequest((0,)))
    await until(lambda: not service.active_requests)
    assert len(caplog.records) == 3  # a new interval
    await service.stop(0)


async def test_what_comes_from_callers_is_escaped_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    forged = "x\n2026-01-01 CRITICAL root: \x1b[31mforged\x1b[0m \u202e"

    async def find(what: Any) -> None:
        raise LookupError(f"there is no {what}")

    service = make_service(find, redelivery_limit=0)
    service.received(ScriptedRequest((forged,)))
    service.received(ScriptedRequest(correlation_id=forged.encode(), redelivered=True, deliveries=3))
    with caplog.at_level(logging.DEBUG):
        service.received(ScriptedRequest((1, 2), correlation_id=forged.encode()))
        await until(lambda: not service.active_requests)
    text = "\n".join(_lines(caplog))
    assert not [line for line in text.splitlines() if line.startswith("2026")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count(r"\x1b[31mforged") == 4  # in the message and the traceback, and in two correlation ids
    assert "DEBUG service 'find': the arguments of call x\\n2026" in text
    await service.stop(0)


async def test_the_log_of_a_service_that_stops_says_what_became_of_its_calls(caplog: pytest.LogCaptureFixture) -> None:
    work = ThreadWork()
    service = make_service(work.work, fetch_size=4)
    for number in range(2):
        service.received(ScriptedRequest((number,), correlation_id=b"%d" % number))
    await until(lambda: len(work.started) == 2)
    assert await service.stop(0.01) == 2
    assert caplog.messages == [
        "service 'work': 2 calls were not finished within drain_timeout=0.01 s; they are requeued",
        "service 'work': 2 functions still run in threads, which cannot be interrupted: they end by themselves, "
        "or with the process",
    ]
    work.release.set()
    await until(lambda: not service.active_requests)


async def test_a_request_with_a_deadline_alone_that_has_passed_is_dropped_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = ThreadWork()
    service = make_service(work.work)
    late = [ScriptedRequest(correlation_id=b"%d" % number) for number in range(3)]
    for request in late:
        request.deadline = time.time() - 10.0
        service.received(request)
    await until(lambda: not service.active_requests)
    assert [request.events for request in late] == [["discarded"]] * 3
    assert work.started == []
    service._maintain()
    first, more = caplog.messages
    assert "'work': a request arrived after its deadline and was not run: call 0" in first
    assert "2 more times" in more
    await service.stop(0)

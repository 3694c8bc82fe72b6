"""What a worker logs about failures, refusals, late requests and calls that it gives up."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from tests.unit.scripted_requests import ScriptedRequest, ThreadWork, make_service, until

if TYPE_CHECKING:
    import pytest


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


async def test_a_thousand_requests_that_are_given_up_are_one_line_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    work = ThreadWork()
    service = make_service(work.work)
    given_up = [ScriptedRequest(correlation_id=b"%d" % number) for number in range(1_000)]
    for request in given_up:
        request.redelivered, request.deliveries = True, 6
        service.received(request)
    await until(lambda: not service.active_requests)
    assert all("dead" in " ".join(request.events) for request in given_up)
    assert work.started == []
    service._maintain()
    first, more = caplog.messages
    assert "call 0 is dead-lettered" in first
    assert "999 more times: a call is dead-lettered" in more
    await service.stop(0)

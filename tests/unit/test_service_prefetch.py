"""Services that fetch more requests than they run at a time."""

from __future__ import annotations

from typing import Any

import pytest

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import RegistrationError
from tests.unit.scripted_requests import ScriptedRequest, Work, make_service, turns, until


def _requests(number: int) -> list[ScriptedRequest]:
    return [ScriptedRequest((index,), correlation_id=b"%d" % index) for index in range(number)]


async def test_no_more_run_at_a_time_than_without() -> None:
    work = Work()
    service = make_service(work.work, fetch_size=2, fetch_ahead=1)
    assert service.schema.queue.fetch_size == 3
    requests = _requests(3)
    for request in requests:
        service.received(request)
    await until(lambda: len(work.started) == 2)
    await turns()
    assert (work.started, service.active_requests, requests[2].events) == ([0, 1], 3, [])
    work.release.set()
    await until(lambda: not service.active_requests)
    assert work.started == [0, 1, 2]
    assert [request.events for request in requests] == [["replied"]] * 3


async def test_queued_requests_are_requeued_when_the_worker_stops() -> None:
    work = Work()
    service = make_service(work.work, fetch_size=1, fetch_ahead=1)
    requests = _requests(2)
    for request in requests:
        service.received(request)
    await until(lambda: work.started)
    await service.stop(0)
    assert [request.events for request in requests] == [["requeued"]] * 2
    assert work.started == [0]


async def test_queued_requests_expire_and_can_be_cancelled() -> None:
    work = Work()
    service = make_service(work.work, fetch_size=1, fetch_ahead=2)
    running, cancelled = _requests(2)
    expires = ScriptedRequest(("expires",), correlation_id=b"e", time_left=0.02)
    for request in (running, expires, cancelled):
        service.received(request)
    await until(lambda: work.started)
    service.cancelled(cancelled.caller, b"1")
    await until(lambda: expires.events and cancelled.events)
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (expires.events, cancelled.events, work.started) == (["discarded"], ["discarded"], [0])


@pytest.mark.parametrize(
    "limits",
    [{"fetch_ahead": -1}, {"fetch_size": 65535, "fetch_ahead": 1}, {"fetch_ahead": 1, "delivery": "at-most-once"}],
)
def test_limits_that_cannot_be_used(limits: dict[str, Any]) -> None:
    with pytest.raises(RegistrationError, match="fetch_ahead"):
        ServiceSchema.of(turns, ServiceLimits(**limits))

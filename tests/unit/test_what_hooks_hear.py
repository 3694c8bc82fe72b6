"""What plug-ins hear, and statistics count, of requests that their worker answered without running their handlers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import (
    ConnectionLostError,
    InvalidArgumentsError,
    RemoteExecutionError,
    RunTimeoutError,
    ServiceError,
)
from rabibridge_core.introspection.calls import CallCounts
from rabibridge_core.plugins import hookimpl, plugin_manager
from tests.support.waiting import until
from tests.unit import process_functions as functions
from tests.unit.process_support import served
from tests.unit.scripted_requests import ScriptedRequest, Work, keyed, make_service, turns
from tests.unit.scripted_requests import until as soon_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core._server.service import ServiceRunner
    from rabibridge_core.transport import HeaderValue


class SoldOut(ServiceError, code="tests.hooks.sold_out"):
    left: int


class Hears:
    """A plug-in that keeps why requests had no result."""

    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []

    @hookimpl
    def rabibridge_request_finished(self, error: BaseException | None) -> None:
        self.errors.append(error)


def _counts(service: ServiceRunner) -> CallCounts:
    return service._processor.statistics.counts()


async def _one_by_one(service: ServiceRunner, *requests: ScriptedRequest) -> None:
    for request in requests:
        service.received(request)
        await soon_until(lambda request=request: request.settled and not service.active_requests)  # type: ignore[misc]


async def _raises() -> None:
    raise ValueError("no")


async def _sold_out() -> None:
    raise SoldOut(left=3)


async def _takes_nothing() -> None: ...


@pytest.mark.parametrize("wants_reply", [True, False])
@pytest.mark.parametrize(
    ("func", "args", "error", "counts"),
    [
        (_raises, (), RemoteExecutionError, CallCounts(failed=2)),
        (_sold_out, (), SoldOut, CallCounts(declared=2)),
        (_takes_nothing, (1,), InvalidArgumentsError, CallCounts(refused=2)),
        (_takes_nothing, (), None, CallCounts(succeeded=2)),
    ],
)
async def test_a_stored_answer_is_heard_and_counted_as_the_first_was(
    func: Any, args: tuple[Any, ...], error: type[BaseException] | None, counts: CallCounts, wants_reply: bool
) -> None:
    hears = Hears()
    service = make_service(func, plugin=hears, raises=(SoldOut,))
    await _one_by_one(service, keyed(args), keyed(args, cid=b"2", wants_reply=wants_reply))
    assert [request is None for request in hears.errors] == [error is None] * 2
    again = hears.errors[1]
    if error is not None:
        assert type(again) is error
        assert isinstance(again, RemoteExecutionError)
        assert (again.func_name, again.correlation_id) == (service.schema.name, "2")
    assert _counts(service) == counts
    assert len(service._processor.statistics.failures) == (counts.failed + counts.refused) // 2  # kept once
    await service.stop(0)


async def test_an_answer_that_is_shared_while_it_is_made() -> None:
    hears = Hears()
    work = Work()

    async def fails() -> None:
        await work.work()
        raise ValueError("both hear it")

    service = make_service(fails, plugin=hears)
    first, second = keyed(), keyed(cid=b"2")
    service.received(first)
    service.received(second)
    await soon_until(lambda: work.started)
    await turns()
    work.release.set()
    await soon_until(lambda: not service.active_requests)
    assert [type(error) for error in hears.errors] == [ValueError, RemoteExecutionError]
    assert _counts(service) == CallCounts(failed=2)
    await service.stop(0)


async def test_a_request_that_was_sent_again_to_an_at_most_once_service() -> None:
    hears = Hears()
    service = make_service(_takes_nothing, plugin=hears, delivery="at-most-once")
    headers: dict[str, HeaderValue] = {"rb-key": "key", "rb-key-learned": True, "rb-resent": True}
    await _one_by_one(service, ScriptedRequest(headers=headers))
    (error,) = hears.errors
    assert isinstance(error, ConnectionLostError)
    service.received(ScriptedRequest(redelivered=True))
    assert _counts(service) == CallCounts(dead=2)
    (kept,) = service._processor.statistics.failures
    assert (kept.kind, kept.count) == ("dead", 2)
    await service.stop(0)


async def test_a_run_that_took_too_long() -> None:
    hears = Hears()
    service = make_service(Work().work, plugin=hears, run_timeout=0.1)
    await _one_by_one(service, ScriptedRequest())
    assert [type(error) for error in hears.errors] == [RunTimeoutError]
    assert _counts(service) == CallCounts(failed=1)
    await service.stop(0)


@pytest.fixture
def heard() -> Iterator[Hears]:
    hears = Hears()
    plugin_manager().register(hears)
    yield hears
    plugin_manager().unregister(hears)


@pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")
async def test_what_child_processes_report(heard: Hears) -> None:
    async with served(functions.square, functions.end, raises=(functions.OutOfPaper,)) as (_, client):
        await client.call("square", 2)
        for name, args, error in (
            ("square", ("x",), RemoteExecutionError),
            ("square", (), InvalidArgumentsError),
            ("end", ("declared",), functions.OutOfPaper),
        ):
            number = len(heard.errors)
            with pytest.raises(error):
                await client.call(name, *args)
            await until(lambda number=number: len(heard.errors) == number + 1)  # type: ignore[misc]
            await client.notify(name, *args)
            await until(lambda number=number: len(heard.errors) == number + 2)  # type: ignore[misc]
            assert [type(each) for each in heard.errors[number:]] == [error] * 2
        (worker,) = await client.workers()
        assert {service.name: service.counts for service in worker.services} == {
            "square": CallCounts(succeeded=1, failed=2, refused=2),
            "end": CallCounts(declared=2),
        }

"""Programs whose event loop has eager tasks: each begins to run where it is made, and may end there."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RMQClient, RMQServer
from rabibridge_core import Progress, current_call
from tests.support.waiting import PATIENCE, soon
from tests.unit.client_support import begin, reply
from tests.unit.scripted_requests import ScriptedRequest, make_service, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no eager tasks")
MANY = 3 * sys.getrecursionlimit()


@pytest.fixture(autouse=True)
async def eager_tasks() -> None:
    factory: Any = vars(asyncio)["eager_task_factory"]
    asyncio.get_running_loop().set_task_factory(factory)


@pytest.mark.parametrize("options", [{"delivery": "at-most-once"}, {"fair": True, "fetch_ahead": MANY}])
async def test_however_many_requests_wait_they_are_processed_one_after_the_other(options: dict[str, Any]) -> None:
    gate, order = asyncio.Event(), list[int]()

    async def work(number: int) -> int:
        if not number:
            await gate.wait()
        order.append(number)
        return number

    service = make_service(work, fetch_size=1, **options)
    requests = [ScriptedRequest((number,), correlation_id=b"%d" % number) for number in range(MANY)]
    for request in requests:
        service.received(request)
    assert (service.active_requests, service.running) == (MANY, 1)
    gate.set()
    await until(lambda: not service.active_requests)
    assert order == list(range(MANY))
    assert [request.answer for request in requests] == [[0, number] for number in order]  # 0: it is a result


async def test_a_request_that_ends_at_once_is_not_kept() -> None:
    seen = list[weakref.ref[asyncio.Task[Any]]]()

    async def work() -> None:
        assert service.running == 1
        task = asyncio.current_task()
        assert task is not None
        assert service.runs(task)
        seen.append(weakref.ref(task))

    service = make_service(work)
    gc.collect()
    gc.disable()
    try:
        service.received(request := ScriptedRequest())
        assert request.events == ["replied"]
        assert service.active_requests == 0
        del request
        assert seen[0]() is None
    finally:
        gc.enable()


async def test_a_call_is_sent_where_its_task_is_made(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=PATIENCE)
    (request,) = transport.sent
    client.calls.replied(request.correlation_id, reply("result"))
    assert await call == "result"


async def test_what_a_function_says_before_it_waits_for_anything() -> None:
    reports, noted, over = list[Progress](), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        current_call().progress(0.5)
        await over.wait()
        return "done"

    async def note(progress: Progress) -> None:
        reports.append(progress)
        noted.set()

    server = RMQServer(url="memory://eager")
    server.add_service(work)
    async with server.serving(), RMQClient(url="memory://eager") as client:
        call = asyncio.ensure_future(client.options(on_progress=note, timeout=PATIENCE).call(work))
        await soon(noted.wait())
        over.set()
        assert await soon(call) == "done"
    assert reports == [Progress(0.5, "")]


async def test_calls_of_all_shapes() -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    async def chain(depth: int) -> int:
        return 1 + await patient.call(chain, depth - 1) if depth else 0

    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def numbers() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    server = RMQServer(url="memory://eager")
    for function in (add, chain, count, total):
        server.add_service(function)
    async with server.serving(), RMQClient(url="memory://eager") as client:
        patient = client.options(timeout=PATIENCE)
        assert await asyncio.gather(*(patient.call(add, n, 1) for n in range(500))) == list(range(1, 501))
        assert await patient.call(chain, 50) == 50
        assert [number async for number in patient.stream(count, 100)] == list(range(100))
        assert await patient.call(total, numbers()) == 4950
        assert [result async for result in patient.map(chain, [3] * 100)] == [3] * 100
        assert client.pending == 0

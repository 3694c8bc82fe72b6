"""``map``, ``starmap``, broadcasts, stubs and notifications of the synchronous client, on a RabbitMQ."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import QueueFullError, RemoteExecutionError
from rabibridge.sync import Client
from tests.rabbitmq.support import Gate
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.rabbitmq.support import Stage


async def total(left: int, right: int = 0) -> int:
    if left < 0:
        raise ValueError(left)
    return left + right


async def in_a_thread(work: Callable[[Client], Any], url: str) -> Any:
    def run() -> Any:
        with Client(url=url) as client:
            result = work(client)
            assert client.pending == 0
            return result

    return await asyncio.wait_for(asyncio.to_thread(run), 2 * PATIENCE)


async def test_maps_over_two_workers(stage: Stage) -> None:
    name = stage.register(total)
    for _ in range(2):
        await (await stage.server(total)).wait_serving(name)

    def work(client: Client) -> None:
        assert list(client.map(name, range(2000))) == list(range(2000))
        assert sorted(client.map(name, iter(range(200)), concurrency=5, ordered=False)) == list(range(200))
        assert list(client.starmap(name, [(1, 2), (3, 4)])) == [3, 7]
        stub = pickle.loads(pickle.dumps(client.stub(name, timeout=PATIENCE))).bind(client)
        assert (stub(1, right=2), list(client.map(stub, [5]))) == (3, [5])
        seen: list[int] = []
        results = client.map(name, [1, 2, -1, 3])
        with pytest.raises(RemoteExecutionError, match="-1"):
            seen.extend(iter(results.__next__, None))
        assert seen == [1, 2][: len(seen)]  # those that were ready before the error: another worker has the second
        everything = list(client.map(name, [1, -1, 3], return_exceptions=True))
        assert [type(each) for each in everything] == [int, RemoteExecutionError, int]

    await in_a_thread(work, stage.url)


async def test_a_full_queue_is_waited_for(stage: Stage) -> None:
    async def slow(number: int) -> int:
        await asyncio.sleep(0.005)
        return number

    name = await stage.serve(slow, queue_size=2, fetch_size=1)

    def work(client: Client) -> None:
        assert list(client.map(name, range(100), concurrency=16)) == list(range(100))
        with pytest.raises(QueueFullError):
            list(client.options(retry=False).map(name, range(100), concurrency=64))

    await in_a_thread(work, stage.url)


async def test_leaving_a_map_cancels_what_runs(stage: Stage) -> None:
    gate = Gate()

    async def first(number: int) -> int:
        return number if number == 0 else await gate.wait(number)

    name = await stage.serve(first)

    def work(client: Client) -> list[int]:
        seen = []
        for result in client.map(name, range(100), concurrency=8):
            seen.append(result)
            break
        return seen

    assert await in_a_thread(work, stage.url) == [0]
    await until(lambda: gate.running == 0)


async def test_a_map_goes_on_after_its_connection_was_lost(stage: Stage) -> None:
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def twice(number: int) -> int:
        if number == 50:
            await lost.wait()
        return 2 * number

    name = await stage.serve(twice, idempotent=True)
    async with Proxy(stage.url) as proxy:

        def numbers() -> Iterator[int]:
            for number in range(200):
                if number == 60:

                    def cut() -> None:
                        proxy.cut()
                        lost.set()

                    loop.call_soon_threadsafe(cut)
                yield number

        def work(client: Client) -> list[int]:
            return list(client.options(idempotent=True, timeout=PATIENCE).map(name, numbers(), concurrency=16))

        assert await in_a_thread(work, proxy.url) == [2 * number for number in range(200)]


async def test_broadcasts_reach_every_worker(stage: Stage) -> None:
    gate = Gate()
    function = gate.function()
    name = stage.register(function)
    servers = [await stage.server(function, name=f"worker {number}") for number in range(2)]
    for server in servers:
        await server.wait_serving(name)

    def work(client: Client) -> None:
        broadcast = client.options(timeout=PATIENCE).broadcast(name, 7)
        replies = {reply.worker: reply.result for reply in broadcast}
        assert (replies, broadcast.complete, broadcast.missing) == ({"worker 0": 7, "worker 1": 7}, True, ())
        gate.opened.clear()
        late = client.options(timeout=2.0).broadcast(name, 8)
        assert list(late) == []
        assert (late.complete, set(late.missing)) == (False, {"worker 0", "worker 1"})

    gate.opened.set()
    await in_a_thread(work, stage.url)


async def test_a_notification_runs(stage: Stage) -> None:
    told = asyncio.Queue[int]()

    async def note(number: int) -> None:
        told.put_nowait(number)

    name = await stage.serve(note)
    await in_a_thread(lambda client: client.notify(name, 1), stage.url)
    assert await soon(told.get()) == 1

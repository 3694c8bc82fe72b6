"""Places are shared among users first, and then among the clients of each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from rabibridge import QueueFullError, RMQClient, RMQServer
from tests.support.waiting import PATIENCE, soon, until


async def test_a_user_gets_no_more_by_many_connections() -> None:
    order: list[str] = []
    gate = asyncio.Semaphore(0)

    async def take(who: str) -> None:
        order.append(who)
        await gate.acquire()

    server = RMQServer(url="memory://backend@fair")
    server.add_service(take, fair=True, fetch_size=1, fetch_ahead=20)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server.serving())
        calls = []
        for user, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1)):
            client = await stack.enter_async_context(RMQClient(url=f"memory://{user}@fair"))
            for _ in range(3):
                made = client.options(timeout=PATIENCE).remote_call("take", (f"{user}{number}",))
                calls.append(asyncio.create_task(made))
                await until(lambda: _in_hand(server) == len(calls))
        for _ in calls:
            gate.release()
        await soon(asyncio.gather(*calls))
    # The first one began before the others came. Then the users take turns, and the clients of "a" among themselves.
    assert order == ["a1", "a1", "b1", "a2", "b1", "a3", "b1", "a1", "a2", "a3", "a2", "a3"]


def _in_hand(server: RMQServer) -> int:
    return server._server.active_requests


@pytest.mark.parametrize("queue_size", [4, 16, 64])
async def test_a_call_beside_a_flood_waits_for_one_place(queue_size: int) -> None:
    """What docs/limits.md says: the flood fills the queue, and one call of somebody else is the next but one."""
    ended: list[str] = []
    refused: list[str] = []
    gate = asyncio.Semaphore(0)

    async def take(who: str) -> None:
        await gate.acquire()
        ended.append(who)

    url = f"memory://backend@flood-{queue_size}"
    server = RMQServer(url=url)
    server.add_service(take, fair=True, fetch_size=8, queue_size=queue_size)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server.serving())
        flood, small = [
            await stack.enter_async_context(RMQClient(url=url.replace("backend", user))) for user in ("flood", "small")
        ]

        async def call(client: RMQClient, who: str) -> None:
            try:
                await client.options(timeout=PATIENCE).remote_call("take", (who,))
            except QueueFullError:
                refused.append(who)

        calls = [asyncio.create_task(call(flood, "flood")) for _ in range(8 + queue_size + 100)]
        await until(lambda: len(refused) == 100)
        assert _in_hand(server) == 8 + queue_size
        calls.append(asyncio.create_task(call(small, "small")))
        await until(lambda: len(refused) == 101)
        for count in range(1, 4):
            gate.release()
            await until(lambda count=count: len(ended) == count)  # type: ignore[misc]
        for _ in range(queue_size + 8):
            gate.release()
        await soon(asyncio.gather(*calls))
    # The first one that ends makes room for one of the flood, which has waited longest, or for the other: it is a tie.
    assert ended.index("small") <= 8 + 1
    assert len(ended) == 8 + queue_size
    assert set(refused) == {"flood"}


async def test_a_call_that_waits_in_the_worker_waits_no_longer_than_one_may_in_the_queue() -> None:
    gate = asyncio.Event()
    ran: list[int] = []

    async def take(number: int) -> None:
        ran.append(number)
        await gate.wait()

    server = RMQServer(url="memory://fair-timeout")
    server.add_service(take, fair=True, fetch_size=1, queue_size=4, timeout=0.05)
    async with server.serving(), RMQClient(url="memory://fair-timeout") as client:
        first = asyncio.create_task(client.options(timeout=PATIENCE).remote_call("take", (1,)))
        await until(lambda: ran == [1])
        second = asyncio.create_task(client.options(timeout=PATIENCE).remote_call("take", (2,)))
        await until(lambda: server._server.services["take"].processor.statistics.expired == 1)
        assert _in_hand(server) == 1
        gate.set()
        await soon(first)
        second.cancel()
    assert ran == [1]

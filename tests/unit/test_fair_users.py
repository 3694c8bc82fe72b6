"""Places are shared among users first, and then among the clients of each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from rabibridge import RMQClient, RMQServer
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
async def test_a_call_behind_a_flood_waits_for_what_the_queue_holds(queue_size: int) -> None:
    """The figures of docs/limits.md: the flood fills each place that becomes free, and one call gets in once."""
    ended: list[str] = []
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
        calls: list[asyncio.Task[None]] = []

        def call(client: RMQClient, who: str) -> asyncio.Task[None]:
            calls.append(asyncio.create_task(client.options(timeout=PATIENCE).remote_call("take", (who,))))
            return calls[-1]

        while flood.pending < 16 + queue_size:  # what is fetched, and what waits
            call(flood, "flood")
            await until(lambda: flood.pending == len(calls))
        await until(lambda: _in_hand(server) == 16)
        gate.release()
        await until(lambda: flood.pending == 16 + queue_size - 1 and _in_hand(server) == 16)
        call(small, "small")
        await until(lambda: small.pending == 1)
        for count in range(2, 2 * (16 + queue_size)):
            gate.release()
            await until(lambda count=count: len(ended) == count)  # type: ignore[misc]
            if "small" in ended:
                break
            call(flood, "flood")
        for _ in calls:
            gate.release()
        await soon(asyncio.gather(*calls))
    assert ended.index("small") - 1 == queue_size + 8

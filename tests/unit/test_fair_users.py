"""Places are shared among users first, and then among the clients of each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

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

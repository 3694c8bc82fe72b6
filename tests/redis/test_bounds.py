"""What a queue on Redis accepts of calls that come all at once, and that it does so on either event loop."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import QueueFullError, register_call
from rabibridge_core.rpc import RpcClient, RpcServer

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
FREE, WAITING = 3, 2


async def bursts(url: str) -> list[tuple[int, int]]:
    """Let eight calls at once meet a worker with three places and a queue for two; return what ran and was refused."""
    opened, name = asyncio.Event(), f"bound_{uuid.uuid4().hex}"

    @register_call(name=name, queue_size=WAITING, fetch_size=FREE)
    async def held() -> str:
        await opened.wait()
        return "done"

    found = []
    server = RpcServer(url=url)
    server.load_services({name: held})
    async with server.serving(), RpcClient(url=url) as client:
        assert await _ends(opened, client, name, 1) == (1, 0)  # the worker has told which places it has
        for _ in range(3):
            found.append(await _ends(opened, client, name, 8))
    return found


async def _ends(opened: asyncio.Event, client: RpcClient, name: str, calls: int) -> tuple[int, int]:
    opened.clear()
    asyncio.get_running_loop().call_later(0.5, opened.set)  # refusals arrive at once, and nothing tells that none do
    ended = await asyncio.gather(
        *(client.remote_call(name, timeout=PATIENCE) for _ in range(calls)), return_exceptions=True
    )
    return ended.count("done"), sum(isinstance(one, QueueFullError) for one in ended)


def _uvloop() -> Any:
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, _uvloop], ids=["asyncio", "uvloop"])
def test_calls_at_once_fill_the_places_of_an_idle_worker_and_then_the_queue(
    redis_url: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(bursts(redis_url)) == [(FREE + WAITING, 8 - FREE - WAITING)] * 3

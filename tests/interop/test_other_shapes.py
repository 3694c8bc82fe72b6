"""Broadcasts to servers of more than one version: 0.1.2, which knows none, the version before, and this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge import RMQClient, RMQServer
from tests.interop.test_previous import line, previous, running
from tests.support.broadcasts import in_time
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from rabibridge import Broadcast
    from tests.interop.conftest import Peers

__all__ = ["previous"]  # the fixture of the tests below


async def test_workers_of_this_and_of_the_version_before_answer_one_broadcast(
    previous: Path, vhost_url: str, unique_name: Callable[[str], str]
) -> None:
    prefix = unique_name("shapes") + "_"
    config = {"url": vhost_url, "prefix": prefix, "any": "any"}
    ours = RMQServer(url=vhost_url, name="ours")
    ours.add_service(_add, queue_size=1000, fetch_size=10, timeout=60, name=prefix + "add")
    async with running(previous, "serves.py", config) as worker, RMQClient(url=vhost_url) as client:
        assert "ready" in await line(worker)
        async with ours.serving():
            await soon(ours.wait_serving())
            mixed, answers = await _in_time(client, 2.0, prefix + "add", 1, 2, answers=2)
            assert list(answers.values()) == [3, 3]
            assert "ours" in answers
            assert (mixed.missing, mixed.silent) == ((), 0)
            results = [client.call(prefix + "add", number, 1, times=2) for number in range(50)]
            assert await soon(asyncio.gather(*results)) == [2 * (number + 1) for number in range(50)]


async def test_a_server_of_version_0_1_2_is_counted(
    peers: Peers, client: RMQClient, service_name: str, serve: Callable[..., Awaitable[RMQServer]]
) -> None:
    await asyncio.to_thread(peers.server, service_name)
    alone, answers = await _in_time(client.options(kind="async"), 1.0, service_name, "echo", 1)
    assert answers == {}
    assert (alone.missing, alone.silent) == ((), 1)
    server = await serve(_echo)
    await soon(server.wait_serving())
    mixed, answers = await _in_time(client.options(kind="async"), 2.0, service_name, "echo", 2, answers=1)
    assert answers == {server.name: 2}
    assert mixed.silent == 1
    assert [await soon(client.remote_call(service_name, ("echo", number))) for number in range(10)] == [*range(10)]


async def _in_time(
    calls: Any, least: float, name: str, *args: Any, answers: int = 0
) -> tuple[Broadcast[Any], dict[str, Any]]:
    return await in_time(least, lambda seconds: calls.options(timeout=seconds).broadcast(name, *args), answers=answers)


async def _add(left: Any, right: Any, *, times: int = 1) -> Any:
    return (left + right) * times


async def _echo(command: str, value: Any) -> Any:
    return value

"""Limits that change again and again under a running server, and servers that are run twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, RMQClient, RMQServer
from rabibridge_core._hosting.plugin_folder import PluginFolder
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rabbitmq.support import Stage


async def test_every_change_of_limits_takes_effect_where_re_register_is_asked_for(
    stage: Stage, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("changing")

    def write(number: int) -> None:
        (tmp_path / "plugin.py").write_text(
            "from rabibridge import register_call\n"
            f"@register_call(queue_size={number}, re_register=True)\n"
            f"async def {name}():\n    return {number}\n"
        )

    write(10)
    folder = PluginFolder(tmp_path)
    server = RMQServer(url=stage.url)
    for schema in folder.load():
        server._server.add(schema)
    await soon(server.connect())
    stage.start(server)
    client = await stage.client()
    for number in range(11, 20):
        write(number)
        changes = folder.update()
        await soon(server._server.change(changes.removed, changes.services))
        assert await soon(client.remote_call(name)) == number


async def test_a_server_can_be_run_again_but_not_twice_at_once(stage: Stage, unique_name: Callable[[str], str]) -> None:
    async def one() -> int:
        return 1

    one.__name__ = name = unique_name("one")
    server = RMQServer(url=stage.url)
    server.add_service(one)
    client = await stage.client()
    async with server:
        for _ in range(2):
            running = asyncio.create_task(server.run_serve())
            assert await soon(client.remote_call(name)) == 1
            with pytest.raises(ConfigurationError, match="already running"):
                await soon(server.run_serve())
            assert await soon(client.remote_call(name)) == 1
            server.stop()
            await soon(running)


def test_a_client_belongs_to_the_loop_that_connected_it(vhost_url: str) -> None:
    with asyncio.Runner() as first, asyncio.Runner() as second:
        client = RMQClient(url=vhost_url)
        first.run(client.connect())
        with pytest.raises(ConfigurationError, match="another event loop"):
            second.run(client.remote_call("anything", timeout=1))
        first.run(client.close())

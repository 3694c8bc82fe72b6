"""Whatever is stopped or closed, however often, whenever, by whomever: it ends, and nothing goes on behind it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import aiormq
import pytest
from yarl import URL

from rabibridge import CallTimeoutError, ConnectionLostError, RegistrationError, RMQClient, RMQServer
from tests.rabbitmq.support import Gate, until_call_gives
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rabibridge_testing._fake.fake_broker import FakeBroker
    from tests.rabbitmq.support import Stage


async def test_a_close_that_nobody_waits_for_still_closes(stage: Stage) -> None:
    async def one() -> int:
        return 1

    name = stage.register(one)
    server = await stage.server(one)
    client = await stage.client()
    assert await soon(client.remote_call(name)) == 1
    closing = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await soon(server.close())
    with pytest.raises(CallTimeoutError):  # the queue is there, nobody serves it
        await soon(client.remote_call(name, timeout=0.5))


async def test_a_second_close_waits_for_the_first(stage: Stage) -> None:
    gate = Gate()
    name = stage.register(function := gate.function())
    server = await stage.server(function)
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await gate.holds(1)
    closings = [asyncio.create_task(server.close()) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert not any(closing.done() for closing in closings)
    gate.opened.set()
    await soon(asyncio.gather(*closings, call))


async def test_a_server_can_be_stopped_while_the_broker_is_away(stage: Stage) -> None:
    async def one() -> int:
        return 1

    async def other() -> int:
        return 2

    stage.register(one)
    stage.register(other)
    async with Proxy(stage.url) as proxy:
        server = await stage.server(one, start=False, url=proxy.url)
        serving = asyncio.create_task(server.run_serve())
        proxy.refusing = True
        proxy.link.cut()
        await until(lambda: server.state.value == "lost")
        server.add_service(other)
        server.stop()
        await soon(serving)
        await soon(server.close())


async def test_a_service_added_while_the_broker_is_away_is_served_when_it_is_back(stage: Stage) -> None:
    async def one() -> int:
        return 1

    async def other() -> int:
        return 2

    stage.register(one)
    name = stage.register(other)
    client = await stage.client()
    async with Proxy(stage.url) as proxy:
        server = await stage.server(one, url=proxy.url)
        proxy.refusing = True
        proxy.link.cut()
        await until(lambda: server.state.value == "lost")
        server.load_services({"other": other})
        proxy.refusing = False
        await until_call_gives(client, name, 2)
        await soon(server.close())


async def test_connecting_may_be_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.2")
    async with Proxy(stage.url) as proxy:
        proxy.refusing = True
        server = stage.new_server(url=proxy.url)
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                await soon(server.connect())
        proxy.refusing = False
        await soon(server.connect())
        await soon(server.close())


async def test_calls_in_flight_are_answered_although_their_queue_is_deleted(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name, ("first",)))
    await gate.holds(1)
    connection = await aiormq.connect(str(URL(stage.url)))
    channel = await connection.channel()
    await channel.queue_delete(f"rpc_async_{name}")
    await connection.close()
    gate.opened.set()
    assert await soon(call) == "first"
    await until_call_gives(client, name, "second", "second")


def test_a_sync_function_that_hangs_does_not_hold_the_process(
    vhost_url: str, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("hang")
    (tmp_path / "hanging.py").write_text(
        f"""
import asyncio, threading
from rabibridge import (RMQClient, RMQServer)

started = threading.Event()

def {name}():
    started.set()
    threading.Event().wait()

async def main():
    server = RMQServer()
    server.add_service({name})
    async with server, RMQClient() as client:
        serving = asyncio.create_task(server.run_serve())
        call = asyncio.create_task(client.try_remote_call("{name}", ftype="sync"))
        await asyncio.to_thread(started.wait)
        server.stop()
        await serving
    await call

asyncio.run(main())
"""
    )
    env = {**os.environ, "RABIBRIDGE_URL": vhost_url, "RABIBRIDGE_DRAIN_TIMEOUT": "0.1"}
    ended = subprocess.run(
        [sys.executable, "hanging.py"], cwd=tmp_path, env=env, timeout=2 * PATIENCE, check=False, capture_output=True
    )
    assert ended.returncode == 0, ended.stderr.decode()


async def test_signals_may_be_left_to_the_host(stage: Stage) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server = RMQServer(url=stage.url)
    client = await stage.client()

    async def one() -> int:
        return 1

    name = stage.register(one)
    server.load_services({"one": one})
    async with server:
        serving = asyncio.create_task(server.run_serve(signals=False))
        assert await soon(client.remote_call(name)) == 1
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        server.stop()
        await soon(serving)


async def test_asked_to_stop_twice_it_gives_back_at_once_what_it_has_in_flight(stage: Stage) -> None:
    gate = Gate()
    stage.register(function := gate.function())
    name = function.__name__
    server = await stage.server(function, start=False)
    serving = asyncio.create_task(server.run_serve())
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await gate.holds(1)
    server.stop()
    await asyncio.sleep(0.05)
    assert not serving.done()
    server.stop()
    await soon(serving)
    await soon(server.close())

    async def successor() -> str:
        return "another one"

    successor.__name__ = name
    other = stage.new_server()
    other.add_service(successor)
    await soon(other.connect())
    stage.start(other)
    assert await soon(call) == "another one"


async def test_annotations_that_cannot_be_used_are_told_before_anybody_can_call(stage: Stage) -> None:
    async def broken(value: NotThere) -> None:  # type: ignore[name-defined]  # noqa: F821
        del value

    stage.register(broken, validate=True)
    server = stage.new_server()
    with pytest.raises(RegistrationError, match="NotThere"):
        server.load_services({"broken": broken})


async def test_a_reload_that_waits_for_the_broker_does_not_keep_a_server_from_stopping(
    fake_broker: FakeBroker, tmp_path: Path
) -> None:
    def write(limit: int) -> None:
        source = (
            f"from rabibridge import register_call\n@register_call(queue_size={limit})\nasync def f(): return {limit}\n"
        )
        (tmp_path / "plugin.py").write_text(source)

    write(1)
    server = RMQServer()
    server.load_plugins(tmp_path)
    async with server:
        serving = asyncio.create_task(server.run_serve(reload=True))
        async with RMQClient() as client:
            await until_call_gives(client, "f", 1)
        fake_broker.lose_connection(restore=False)
        write(2)
        await until(lambda: server.services[0].queue_size == 1 and bool(server._server.services._changes))
        server.stop()
        await soon(serving)

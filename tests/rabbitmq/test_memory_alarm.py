"""A broker that is low on memory blocks whoever publishes: everything waits, nothing breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate, Stage
from tests.support.proxy import Proxy
from tests.support.services import new_echo
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rabibridge import RMQClient, RMQServer, ServiceSchema
    from tools.broker import Broker


@pytest.fixture
async def alarmed(own_node: Broker) -> AsyncIterator[Callable[[bool], Any]]:
    async def alarm(on: bool) -> None:
        await asyncio.to_thread(own_node.ctl, "set_vm_memory_high_watermark", "0.0000001" if on else "0.4")

    yield alarm
    await alarm(False)


async def test_during_a_memory_alarm_calls_wait_or_time_out_and_then_flow(
    own_node: Broker, alarmed: Callable[[bool], Any]
) -> None:
    stage = Stage(own_node.fresh_vhost())
    try:
        async with Proxy(stage.url) as proxy:
            function = new_echo()
            name = stage.register(function)
            await stage.server(function)
            client = await stage.client(url=proxy.url)
            assert await soon(client.remote_call(name, (0,))) == 0
            await alarmed(True)
            first = asyncio.create_task(client.remote_call(name, (1,)))  # it makes the broker block the connection
            await until(lambda: _blocked(client))
            for _ in range(3):
                with pytest.raises(CallTimeoutError) as failure:
                    await client.remote_call(name, (2,), timeout=0.2)
                assert failure.value.executed is False
            waiting = [asyncio.create_task(client.remote_call(name, (n,))) for n in range(50)]
            await asyncio.sleep(0.2)
            assert not first.done()
            assert not any(call.done() for call in waiting)
            assert client.state is ConnectionState.READY
            await alarmed(False)
            assert await soon(first) == 1
            assert await soon(asyncio.gather(*waiting)) == list(range(50))
            assert len(proxy.links) == 1
    finally:
        await stage.close()


async def test_a_server_that_is_blocked_by_an_alarm_is_closed_within_the_drain_timeout(
    own_node: Broker, alarmed: Callable[[bool], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_DRAIN_TIMEOUT", "2")
    stage = Stage(own_node.fresh_vhost())
    try:
        gate = Gate()
        function = gate.function()
        name = stage.register(function)
        server: RMQServer = await stage.server(function)
        client = await stage.client()
        call = asyncio.create_task(client.remote_call(name, ("held",)))
        await gate.holds(1)
        await alarmed(True)
        gate.opened.set()  # the reply makes the broker block the server's connection
        await until(lambda: _blocked(server))
        await soon(server.close())
        call.cancel()
    finally:
        await alarmed(False)
        await stage.close()


async def test_what_a_server_stops_or_changes_during_an_alarm_costs_no_call(
    own_node: Broker, alarmed: Callable[[bool], Any]
) -> None:
    stage = Stage(own_node.fresh_vhost())
    try:
        async with Proxy(stage.url) as proxy:
            gates = {delivery: Gate() for delivery in ("at-least-once", "at-most-once")}
            first, changed = Gate(), Gate()
            server = stage.new_server(url=proxy.url)
            names = {delivery: _add(server, gate, delivery) for delivery, gate in gates.items()}
            first_name, changed_name = _add(server, first), _add(server, changed)
            await soon(server.connect())
            serving = stage.start(server)
            await until(lambda: bool(server.health()))  # all services have started
            client = await stage.client()
            calls = {
                delivery: [asyncio.create_task(client.remote_call(name, (number,))) for number in range(2)]
                for delivery, name in names.items()
            }
            calls["first"] = [asyncio.create_task(client.remote_call(first_name, (9,)))]
            for gate in (*gates.values(), first):
                await gate.holds(2 if gate is not first else 1)
            await alarmed(True)
            first.opened.set()  # its reply makes the broker block the connection
            await until(lambda: _blocked(server))
            await soon(server._server.change([changed_name], []))
            await asyncio.sleep(6)  # longer than any single operation may take
            assert all(gate.running == 2 for gate in gates.values())
            server.stop()
            await asyncio.sleep(1)
            for gate in gates.values():
                gate.opened.set()
            await soon(serving)  # not before its calls are finished
            closing = asyncio.create_task(server.close())
            done, _ = await asyncio.wait([closing], timeout=6)
            assert not done  # the broker has not read the replies yet
            await alarmed(False)
            await soon(closing)
            assert await soon(asyncio.gather(*calls["at-least-once"], *calls["at-most-once"])) == [0, 1, 0, 1]
            assert await soon(calls["first"][0]) == 9
            assert all(gate.started.empty() and not gate.cancelled for gate in gates.values())  # each ran once
            assert len(proxy.links) == 1
    finally:
        await alarmed(False)
        await stage.close()


def _add(server: RMQServer, gate: Gate, delivery: str | None = None) -> str:
    function = gate.function()
    function.__name__ = f"gate_{id(gate)}"
    options: Any = {"delivery": delivery, "fetch_size": 4}
    added: ServiceSchema = server.add_service(function, **options)
    return added.name


def _blocked(one: RMQClient | RMQServer) -> bool:
    transport: Any = one._transport
    session = transport._connection.session
    return session is not None and session.multiplexer.blocked is not None

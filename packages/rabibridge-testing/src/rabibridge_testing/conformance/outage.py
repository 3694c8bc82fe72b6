"""Client and server on the transport: calls while the connection is lost and after it is restored."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, NoRouteError
from rabibridge_core.transport import ConnectionState
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, longer, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, DeleteQueue, Unreachable

__all__ = ["OutageConformance"]


async def _echo(number: int) -> int:
    return number


class OutageConformance(ConformanceBase):
    """No call hangs, and clients and servers reconnect by themselves."""

    async def test_the_client_loses_its_connection(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, gate, echo = bench.name("gate"), Gate(), bench.name("echo")
        await bench.server(gate.service(name), service(_echo, echo), drain_timeout=0)
        client = await bench.client()
        calls = [asyncio.create_task(client.call(name, (), {}, CallOptions("async", None))) for _ in range(3)]
        for _ in calls:
            await soon(gate.started.get())
        await break_connection(client.transport)
        for call in calls:
            with pytest.raises(ConnectionLostError) as lost:
                await soon(call)
            assert lost.value.executed is None
        assert client.pending == 0
        assert await client.call(echo, (1,), {}, CallOptions("async", PATIENCE)) == 1
        assert client.transport.state is ConnectionState.READY

    async def test_the_server_loses_its_connection(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name, "back", fetch_size=1))
        client = await bench.client()
        call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE)))
        await soon(gate.started.get())
        await break_connection(server.transport)
        await soon(gate.started.get())  # it was stopped and redelivered, and runs a second time
        assert gate.most == 1
        gate.opened.set()
        assert await soon(call) == "back"
        assert await client.call(name, (), {}, CallOptions("async", PATIENCE)) == "back"
        assert server.services[name].live
        assert client.stray_replies == 0

    async def test_a_worker_lost_in_mid_call_is_replaced_by_another(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name, gate = bench.name("gate"), Gate()
        first = await bench.server(gate.service(name, "first", fetch_size=1))
        client = await bench.client()
        call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE)))
        assert await soon(gate.started.get()) == "first"
        await bench.server(gate.service(name, "second", fetch_size=1))
        await break_connection(first.transport)
        where = await soon(gate.started.get())
        gate.opened.set()
        assert await soon(call) == where

    async def test_calls_right_after_the_loss_wait_for_the_connection(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        echo = bench.name("echo")
        server = await bench.server(service(_echo, echo))
        client = await bench.client()
        for number in range(3):
            await break_connection(client.transport)
            await break_connection(server.transport)
            calls = [client.call(echo, (number,), {}, CallOptions("async", PATIENCE)) for _ in range(5)]
            results = await soon(asyncio.gather(*calls, return_exceptions=True))
            # A call that was sent before the client noticed the loss fails; none hangs or gets another call's result.
            assert all(one == number or isinstance(one, ConnectionLostError) for one in results)
            assert await client.call(echo, (number,), {}, CallOptions("async", PATIENCE)) == number
        assert client.pending == 0

    async def test_a_call_without_a_connection_waits_within_its_timeout(
        self, bench: Bench, cut_off: Unreachable
    ) -> None:
        echo = bench.name("echo")
        await bench.server(service(_echo, echo))
        client = await bench.client()
        async with cut_off(client.transport):
            with pytest.raises(CallTimeoutError) as late:
                await client.call(echo, (1,), {}, CallOptions("async", 0.2))
            assert late.value.executed is False
            assert client.pending == 0
            waiting = asyncio.create_task(client.call(echo, (2,), {}, CallOptions("async", PATIENCE)))
        assert await soon(waiting) == 2

    async def test_closing_ends_calls_that_wait_for_a_connection(self, bench: Bench, cut_off: Unreachable) -> None:
        client = await bench.client()
        async with cut_off(client.transport):
            waiting = asyncio.create_task(client.call(bench.name(), (), {}, CallOptions("async", None)))
            await asyncio.sleep(0)  # let it begin to wait
            await soon(client.close())
            with pytest.raises(ConnectionLostError) as lost:
                await soon(waiting)
            assert lost.value.executed is False

    async def test_a_server_closes_while_its_connection_is_lost(self, bench: Bench, cut_off: Unreachable) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name))
        client = await bench.client()
        timeouts = longer(1.0)
        while True:
            timeout = next(timeouts)
            call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", timeout)))
            await until(lambda call=call: call.done() or not gate.started.empty())  # type: ignore[misc]
            if not gate.started.empty():
                break
            with pytest.raises(CallTimeoutError):
                await call
        async with cut_off(server.transport):
            await soon(server.close())
        assert gate.running == 0
        with pytest.raises(CallTimeoutError):
            await soon(call)

    async def test_a_client_and_a_server_connect_at_the_second_try(self, bench: Bench, cut_off: Unreachable) -> None:
        echo = bench.name("echo")
        server = await bench.server(service(_echo, echo), connect=False)
        client = await bench.client(connect=False)
        for one in (server, client):
            async with cut_off(one.transport):
                with pytest.raises(ConnectionLostError):
                    await soon(one.connect())
            await soon(one.connect())
        await soon(server.start())
        assert await client.call(echo, (1,), {}, CallOptions("async", PATIENCE)) == 1

    async def test_a_queue_that_is_deleted_takes_no_call_in_flight_with_it(
        self, bench: Bench, remove_queue: DeleteQueue
    ) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name, "here"))
        client = await bench.client()
        call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE)))
        await soon(gate.started.get())
        await remove_queue(server.services[name].schema.queue_name)
        gate.opened.set()
        assert await soon(call) == "here"
        assert await soon(_call_until_served(client, name)) == "here"
        assert server.services[name].live

    async def test_calls_that_outlast_their_queue_keep_their_places(
        self, bench: Bench, remove_queue: DeleteQueue
    ) -> None:
        name, echo, gate = bench.name("gate"), bench.name("echo"), Gate()
        server = await bench.server(gate.service(name, "here", fetch_size=2), service(_echo, echo))
        client = await bench.client()
        options = CallOptions("async", PATIENCE)
        calls = [asyncio.create_task(client.call(name, (), {}, options)) for _ in range(2)]
        for _ in calls:
            await soon(gate.started.get())
        await remove_queue(server.services[name].schema.queue_name)
        calls += [asyncio.create_task(_call_until_served(client, name)) for _ in range(3)]
        await until(lambda: server.services[name].live)
        for number in range(20):  # meanwhile, the others would start if there were places
            assert await soon(client.call(echo, (number,), {}, options)) == number
        assert gate.running == 2
        gate.opened.set()
        assert await soon(asyncio.gather(*calls)) == ["here"] * 5
        assert gate.most == 2


async def _call_until_served(client: Client, name: str) -> object:
    while True:
        try:
            return await client.call(name, (), {}, CallOptions("async", PATIENCE))
        except NoRouteError:
            continue  # the worker has not declared the queue again yet

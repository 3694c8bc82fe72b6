"""Client and server on the transport: how often a call runs if its worker disconnects."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import ConnectionLostError, RemoteExecutionError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core._server.server import Server
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, DeadLetters

__all__ = ["DeliveryConformance"]


def _call(client: Client, name: str, *args: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call(name, args, {}, CallOptions("async", None)))


class DeliveryConformance(ConformanceBase):
    """At-least-once and at-most-once delivery, and the redelivery limit."""

    async def test_at_least_once_runs_again_and_knows_it(self, bench: Bench, break_connection: BreakConnection) -> None:
        seen: asyncio.Queue[bool] = asyncio.Queue()

        async def work() -> bool:
            again = current_call().redelivered
            seen.put_nowait(again)
            if not again:
                await asyncio.Event().wait()
            return again

        name = bench.name("work")
        server = await bench.server(service(work, name))
        call = _call(await bench.client(), name)
        assert await soon(seen.get()) is False
        await break_connection(server.transport)
        assert await soon(call) is True
        assert seen.qsize() == 1

    async def test_at_most_once_never_runs_twice(self, bench: Bench, break_connection: BreakConnection) -> None:
        ran: list[str] = []
        started, opened = asyncio.Event(), asyncio.Event()

        async def once(what: str) -> str:
            ran.append(what)
            started.set()
            await opened.wait()
            return what

        name = bench.name("once")
        server = await bench.server(service(once, name, fetch_size=1, delivery="at-most-once"))
        client = await bench.client()
        begun = _call(client, name, "begun")
        await soon(started.wait())
        waiting = _call(client, name, "waiting")
        await until(lambda: server.active_requests == 2)
        await break_connection(server.transport)
        with pytest.raises(ConnectionLostError) as lost:
            await soon(waiting)
        assert lost.value.executed is None
        assert lost.value.accepted
        assert name in str(lost.value)
        opened.set()
        assert await soon(begun) == "begun"  # it continues to run, since no other worker runs it
        assert await client.call(name, ("later",), {}, CallOptions("async", PATIENCE)) == "later"
        assert ran == ["begun", "later"]

    async def test_at_most_once_and_the_client_loses_its_connection(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name, gate = bench.name("once"), Gate()
        await bench.server(gate.service(name, "here", delivery="at-most-once"), drain_timeout=0)
        client = await bench.client()
        call = _call(client, name)
        await soon(gate.started.get())
        await break_connection(client.transport)
        with pytest.raises(ConnectionLostError) as lost:
            await soon(call)
        assert lost.value.executed is None
        gate.opened.set()
        assert await client.call(name, (), {}, CallOptions("async", PATIENCE)) == "here"
        assert gate.started.qsize() == 1

    async def test_at_most_once_and_a_worker_stops_after_its_connection_was_lost(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name, gate, server, begun, waiting = await _begun_and_waiting(bench)
        await break_connection(server.transport)
        with pytest.raises(ConnectionLostError):
            await soon(waiting)  # the worker is connected again
        served, closing = server.services[name], asyncio.create_task(server.close())
        await until(lambda: not served.live)
        gate.opened.set()
        assert await soon(begun) == "here"
        await soon(closing)

    async def test_at_most_once_and_a_worker_loses_its_connection_while_it_stops(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name, gate, server, begun, waiting = await _begun_and_waiting(bench)
        served, closing = server.services[name], asyncio.create_task(server.close())
        await until(lambda: not served.live)
        await break_connection(server.transport)
        await until(lambda: server.active_requests == 1)  # it knows of the loss: what has not begun is gone
        gate.opened.set()
        assert await soon(begun) == "here"
        await soon(closing)
        waiting.cancel()

    async def test_at_most_once_and_a_worker_gives_up_a_call_without_a_connection(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        _, gate, server, begun, waiting = await _begun_and_waiting(bench, drain_timeout=0)
        await break_connection(server.transport)
        await until(lambda: server.active_requests == 1)
        await soon(server.close())
        with pytest.raises(ConnectionLostError) as lost:
            await soon(begun)
        assert lost.value.executed is None
        assert lost.value.accepted
        assert gate.started.empty()
        waiting.cancel()

    async def test_at_most_once_runs_as_many_as_it_may_in_their_order(self, bench: Bench) -> None:
        order: list[int] = []
        running = most = 0

        async def work(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(number)
            await asyncio.sleep(0)
            running -= 1
            return number

        name = bench.name("work")
        server = await bench.server(service(work, name, fetch_size=1, delivery="at-most-once"))
        client = await bench.client()
        calls = [_call(client, name, number) for number in range(50)]
        assert await soon(asyncio.gather(*calls)) == list(range(50)) == order
        assert most == 1
        assert server.active_requests == 0

    async def test_a_worker_that_closes_runs_what_waits_in_it(self, bench: Bench) -> None:
        name, gate = bench.name("once"), Gate()
        server = await bench.server(gate.service(name, "here", fetch_size=1, delivery="at-most-once"))
        client = await bench.client()
        calls = [_call(client, name) for _ in range(2)]
        await soon(gate.started.get())
        await until(lambda: server.active_requests == 2)
        closing = asyncio.create_task(server.close())
        gate.opened.set()
        assert await soon(asyncio.gather(*calls)) == ["here", "here"]
        await soon(closing)
        assert gate.most == 1

    @pytest.mark.parametrize("queue_type", ["classic", "quorum"])
    async def test_a_call_that_is_lost_again_and_again_is_put_aside(
        self, bench: Bench, break_connection: BreakConnection, read_dead_letters: DeadLetters, queue_type: Any
    ) -> None:
        name, gate, good = bench.name("poison"), Gate(), bench.name("good")
        poison = gate.service(name, fetch_size=1, redelivery_limit=2, queue_type=queue_type)
        server = await bench.server(poison, service(_echo, good))
        client = await bench.client()
        call = _call(client, name)
        for _ in range(3):  # the first delivery and two redeliveries
            await soon(gate.started.get())
            await break_connection(server.transport)
            await soon(gate.ended.get())
        with pytest.raises(RemoteExecutionError) as dead:
            await soon(call)
        assert dead.value.executed is None
        assert gate.started.empty()
        ((_, reason),) = await soon(read_dead_letters(poison.queue_name))
        assert "2" in reason
        assert await client.call(good, (1,), {}, CallOptions("async", PATIENCE)) == 1
        gate.opened.set()
        await client.call(name, (), {}, CallOptions("async", PATIENCE))
        assert await soon(read_dead_letters(poison.queue_name)) in ([], [(_, reason)])


async def _begun_and_waiting(
    bench: Bench, **options: Any
) -> tuple[str, Gate, Server, asyncio.Task[Any], asyncio.Task[Any]]:
    """Return an at-most-once service, its gate and server, a call that runs, and one that waits in the worker."""
    name, gate = bench.name("once"), Gate()
    server = await bench.server(gate.service(name, "here", fetch_size=1, delivery="at-most-once"), **options)
    client = await bench.client()
    begun = _call(client, name)
    await soon(gate.started.get())
    waiting = _call(client, name)
    await until(lambda: server.active_requests == 2)
    return name, gate, server, begun, waiting


async def _echo(number: int) -> int:
    return number

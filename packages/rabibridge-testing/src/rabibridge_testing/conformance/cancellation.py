"""Client and server on the transport: cancelled calls and disconnected clients."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import ConnectionLostError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["CancellationConformance"]


async def _cancel(call: asyncio.Task[Any]) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(call)


def _call(client: Client, name: str, *args: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call(name, args, {}, CallOptions("any", None, **options)))


class CancellationConformance(ConformanceBase):
    """Calls end on the workers when they are cancelled, or when their client is closed or disconnected."""

    async def test_a_cancelled_call_is_cancelled_where_it_runs(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name, "here", fetch_size=1))
        client = await bench.client()
        for _ in range(2):  # the second call shows that the first one has freed its slot
            call = _call(client, name)
            await soon(gate.started.get())
            await _cancel(call)
            assert client.pending == 0
            await soon(gate.ended.get())
        gate.opened.set()
        assert await client.call(name, (), {}, CallOptions("async", PATIENCE)) == "here"
        assert client.stray_replies == 0
        await until(lambda: server.active_requests == 0)

    async def test_a_call_cancelled_before_a_worker_has_it_never_runs(self, bench: Bench) -> None:
        ran: list[int] = []
        started, opened = asyncio.Event(), asyncio.Event()

        async def note(number: int) -> int:
            ran.append(number)
            started.set()
            await opened.wait()
            return number

        name, ping = bench.name("note"), bench.name("ping")
        await bench.server(service(note, name, fetch_size=1), service(_nothing, ping))
        client = await bench.client()
        first = _call(client, name, 1)
        await soon(started.wait())
        waiting = [_call(client, name, number) for number in range(2, 20)]
        await client.call(ping, (), {}, CallOptions("async", PATIENCE))  # by now they have been sent
        for call in waiting:
            await _cancel(call)
        await client.call(ping, (), {}, CallOptions("async", PATIENCE))  # and so have the cancellations
        opened.set()
        assert await soon(first) == 1
        assert await client.call(name, (20,), {}, CallOptions("async", PATIENCE)) == 20
        assert ran == [1, 20]
        assert client.stray_replies == 0

    async def test_the_call_of_another_goes_on(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name, "here"))
        clients = [await bench.client() for _ in range(2)]
        calls = [_call(client, name) for client in clients]
        for _ in calls:
            await soon(gate.started.get())
        await _cancel(calls[0])
        await soon(gate.ended.get())
        assert gate.running == 1
        gate.opened.set()
        assert await soon(calls[1]) == "here"

    async def test_closing_the_client_cancels_its_calls(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name))
        client = await bench.client()
        calls = [_call(client, name) for _ in range(3)]
        for _ in calls:
            await soon(gate.started.get())
        await soon(client.close())
        for call in calls:
            with pytest.raises(ConnectionLostError):
                await soon(call)
            await soon(gate.ended.get())
        assert gate.running == 0

    async def test_a_function_in_a_thread_sees_that_it_is_cancelled(self, bench: Bench) -> None:
        started, gave_up = threading.Event(), threading.Event()

        def work() -> None:
            call = current_call()
            started.set()
            for _ in range(int(PATIENCE * 100)):
                if call.cancelled:
                    gave_up.set()
                    return
                threading.Event().wait(0.01)

        name = bench.name("work")
        await bench.server(service(work, name, fetch_size=1))
        client = await bench.client()
        call = _call(client, name)
        assert await asyncio.to_thread(started.wait, PATIENCE)
        await _cancel(call)
        assert await asyncio.to_thread(gave_up.wait, PATIENCE)
        assert client.stray_replies == 0

    async def test_the_calls_of_a_client_that_is_gone_end_but_for_persistent_ones(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        async def stays() -> None:
            await release.get()

        release: asyncio.Queue[None] = asyncio.Queue()
        tells, stopped, kept = bench.name("tells"), bench.name("stopped"), bench.name("kept")
        stops, keeps = Gate(), Gate()
        await bench.server(service(stays, tells), stops.service(stopped), keeps.service(kept, "kept"))
        client = await bench.client()
        telling = [_call(client, tells) for _ in range(20)]
        calls = [_call(client, stopped), _call(client, kept, persistent=True)]
        await soon(stops.started.get())
        await soon(keeps.started.get())
        await break_connection(client.transport)
        for call in (*telling, *calls):
            with pytest.raises(ConnectionLostError):
                await soon(call)

        async def answer_until_stopped() -> None:
            wait = 0.2
            for _ in telling:  # an undeliverable reply tells the worker; the broker may notice the loss late
                release.put_nowait(None)
                try:
                    async with asyncio.timeout(wait):
                        await stops.ended.get()
                    return
                except TimeoutError:
                    wait *= 1.3  # of twenty waits the last takes half a minute
            raise AssertionError("no undeliverable reply has told the worker that its caller has disconnected")

        await soon(answer_until_stopped())
        assert stops.running == 0
        assert keeps.running == 1
        keeps.opened.set()
        assert await soon(keeps.ended.get()) == "kept"


async def _nothing() -> None:
    pass

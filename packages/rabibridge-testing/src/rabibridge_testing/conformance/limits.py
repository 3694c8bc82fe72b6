"""Client and server on the transport: full queues, prefetch and several workers."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import QueueFullError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["LimitConformance"]


def _start(client: Client, name: str, count: int) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(client.call(name, (number,), {}, CallOptions("async", None))) for number in range(count)
    ]


class LimitConformance(ConformanceBase):
    """Full queues, prefetch, several workers and draining."""

    async def test_a_full_queue_refuses_and_the_client_goes_on(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name, "here", queue_size=1, fetch_size=1))
        client = await bench.client()
        running = _start(client, name, 1)
        await soon(gate.started.get())
        waits, refused, refused_too = _start(client, name, 3)
        for call in (refused, refused_too):
            with pytest.raises(QueueFullError) as full:
                await soon(call)
            assert full.value.executed is False
        gate.opened.set()
        assert await soon(asyncio.gather(*running, waits)) == ["here", "here"]
        assert await client.call(name, (), {}, CallOptions("async", PATIENCE)) == "here"
        assert client.pending == 0

    async def test_prefetch_bounds_the_calls_in_flight(self, bench: Bench) -> None:
        async def ping() -> None:
            pass

        name, ping_name, gate = bench.name("gate"), bench.name("ping"), Gate()
        server = await bench.server(gate.service(name, fetch_size=2), service(ping, ping_name))
        client = await bench.client()
        calls = _start(client, name, 6)
        for _ in range(2):
            await soon(gate.started.get())
        await client.call(ping_name, (), {}, CallOptions("async", PATIENCE))  # by now a third call would have started
        assert gate.running == 2
        assert server.active_requests == 2
        gate.opened.set()
        await soon(asyncio.gather(*calls))
        assert gate.most == 2

    async def test_workers_share(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        for where in ("left", "right"):
            await bench.server(gate.service(name, where, fetch_size=1))
        client = await bench.client()
        calls = _start(client, name, 2)
        assert {await soon(gate.started.get()) for _ in calls} == {"left", "right"}
        gate.opened.set()
        assert set(await soon(asyncio.gather(*calls))) == {"left", "right"}

    async def test_a_worker_that_stops_finishes_what_it_has_and_leaves_the_rest(self, bench: Bench) -> None:
        name, first, second = bench.name("gate"), Gate(), Gate()
        leaving = await bench.server(first.service(name, "leaving", fetch_size=1))
        client = await bench.client()
        running, *rest = _start(client, name, 4)
        await soon(first.started.get())
        second.opened.set()
        await bench.server(second.service(name, "staying", fetch_size=1))
        closing = asyncio.create_task(leaving.close())
        assert await soon(asyncio.gather(*rest)) == ["staying"] * 3
        assert not closing.done()
        first.opened.set()
        assert await soon(running) == "leaving"
        await soon(closing)
        assert first.most == 1

    async def test_what_is_not_finished_in_time_goes_to_another_worker(self, bench: Bench) -> None:
        name, never, open_gate = bench.name("gate"), Gate(), Gate()
        leaving = await bench.server(never.service(name, "leaving"), drain_timeout=0.05)
        client = await bench.client()
        calls = _start(client, name, 2)
        for _ in calls:
            await soon(never.started.get())
        open_gate.opened.set()
        await bench.server(open_gate.service(name, "staying"))
        await soon(leaving.close())
        assert await soon(asyncio.gather(*calls)) == ["staying"] * 2
        assert never.running == 0

    async def test_calls_wait_for_a_worker_to_start(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        gate.opened.set()
        server = await bench.server(gate.service(name, "started"), start=False)
        client = await bench.client()
        calls = _start(client, name, 3)
        await asyncio.sleep(0)  # let the calls be sent
        await soon(server.start())
        assert await soon(asyncio.gather(*calls)) == ["started"] * 3

"""Client and server on the transport: full queues, prefetch and several workers."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import QueueFullError, RemoteExecutionError, RunTimeoutError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon
from rabibridge_testing.conformance.waiting import until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core._server.server import Server
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["LimitConformance"]


def _start(client: Client, name: str, count: int) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(client.call(name, (number,), {}, CallOptions("async", None))) for number in range(count)
    ]


def _has(server: Server, active: int) -> bool:
    return server.active_requests == active


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

    async def test_a_run_that_takes_too_long_ends_with_one_error(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name, "here", fetch_size=1, run_timeout=0.2))
        client = await bench.client()
        (call,) = _start(client, name, 1)
        with pytest.raises(RunTimeoutError, match=r"run_timeout of its service, 0\.2 s") as stopped:
            await soon(call)
        assert stopped.value.executed is None
        gate.opened.set()
        assert await client.call(name, (), {}, CallOptions("async", PATIENCE)) == "here", "its place is free again"
        assert client.pending == 0

    @pytest.mark.parametrize("told", ["message", "none"])
    async def test_callers_are_told_no_more_than_the_service_says(
        self, bench: Bench, told: Literal["message", "none"]
    ) -> None:
        async def fails() -> None:
            try:
                raise LookupError("the first secret")
            except LookupError as error:
                raise ValueError("the message") from error

        name = bench.name()
        await bench.server(service(fails, name, remote_traceback=told))
        client = await bench.client()
        with pytest.raises(RemoteExecutionError) as failed:
            await client.call(name, (), {}, CallOptions("async", PATIENCE))
        everything = "".join(traceback.format_exception(failed.value)) + repr(vars(failed.value))
        assert "first secret" not in everything
        assert "in fails" not in everything
        assert ("the message" in everything) is (told == "message")
        assert ("ValueError" in everything) is (told == "message")

    async def test_the_places_are_shared_among_the_callers_whose_calls_wait(self, bench: Bench) -> None:
        order, gate = [], asyncio.Semaphore(0)

        async def take(who: str) -> None:
            order.append(who)
            await gate.acquire()

        name = bench.name()
        server = await bench.server(service(take, name, fair=True, fetch_size=1, fetch_ahead=7))
        calls = []
        for who, count, so_far in (("a", 5, 5), ("b", 2, 7)):
            client = await bench.client()
            calls += [
                asyncio.create_task(client.call(name, (who,), {}, CallOptions("async", None))) for _ in range(count)
            ]
            await until(partial(_has, server, so_far))
        for _ in calls:
            gate.release()
        await soon(asyncio.gather(*calls))
        assert order == ["a", "a", "b", "a", "b", "a", "a"], "in turn while both wait"

    async def test_who_has_few_calls_is_not_refused_beside_who_fills_the_queue(self, bench: Bench) -> None:
        name, gate = bench.name("fair"), Gate()
        server = await bench.server(gate.service(name, "here", fair=True, queue_size=4, fetch_size=1))
        greedy, modest = await bench.client(), await bench.client()
        flood = _start(greedy, name, 1)
        await soon(gate.started.get())
        flood += _start(greedy, name, 14)
        await until(lambda: sum(call.done() for call in flood) == 10)
        others = _start(modest, name, 2)
        await until(lambda: sum(call.done() for call in flood) == 12)
        assert _has(server, 5)
        gate.opened.set()
        assert await soon(asyncio.gather(*others)) == ["here", "here"]
        ends = await soon(asyncio.gather(*flood, return_exceptions=True))
        refused = [end for end in ends if isinstance(end, QueueFullError)]
        assert (ends.count("here"), len(refused)) == (3, 12)
        assert all(error.executed is False and error.retry_after is not None for error in refused)
        assert server.services.statistics_of(name).counts().refused == 12

    async def test_a_call_in_the_queue_waits_for_all_that_came_before_it(self, bench: Bench) -> None:
        order, gate = [], asyncio.Semaphore(0)

        async def take(who: str) -> None:
            order.append(who)
            await gate.acquire()

        name = bench.name()
        schema = service(take, name, fair=True, fetch_size=1)
        assert schema.queue.fetch_size == 2, "it fetches as many again as it runs"
        server = await bench.server(schema)
        first, second = await bench.client(), await bench.client()
        calls = [asyncio.create_task(first.call(name, ("a",), {}, CallOptions("async", None))) for _ in range(6)]
        await until(lambda: server.active_requests == 2)
        calls.append(asyncio.create_task(second.call(name, ("b",), {}, CallOptions("async", None))))
        for _ in calls:
            gate.release()
        await soon(asyncio.gather(*calls))
        assert order == ["a"] * 6 + ["b"], "a worker cannot share what it has not fetched"

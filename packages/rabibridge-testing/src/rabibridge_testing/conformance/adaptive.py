"""Services that find out how many calls to run at a time, and consumers whose prefetch changes while they consume."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._server.adaptive_service import AdaptiveServiceRunner
from rabibridge_core._services.auto import auto
from rabibridge_core.transport import AdjustableConsumer, Reply
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, Worker, request_to, service, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["AdaptiveConformance"]

_NOTHING = Reply(b"", None, None)


class _Pressure:
    """Calls of one service: as soon as one ends, the next one is made."""

    def __init__(self, client: Client, name: str, count: int, kind: str = "async") -> None:
        """Keep so many calls pending."""
        options = CallOptions(kind, PATIENCE)  # type: ignore[arg-type]
        self.answered = 0
        self._go_on = True

        async def call() -> None:
            while self._go_on:
                await client.call(name, (), {}, options)
                self.answered += 1

        self._callers = [asyncio.create_task(call()) for _ in range(count)]

    async def end(self) -> None:
        """Let all calls end; raise what one of them has raised."""
        self._go_on = False
        await soon(asyncio.gather(*self._callers))


class AdaptiveConformance(ConformanceBase):
    """Tests of ``fetch_size="auto"``."""

    async def test_a_backend_that_bears_more_gets_more(self, bench: Bench) -> None:
        name, running, most = bench.name("bears"), 0, 0

        async def bears() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1

        await bench.server(service(bears, name, fetch_size="auto"))
        pressure = _Pressure(await bench.client(), name, 100)
        await until(lambda: most >= 20)  # it starts at 8
        await pressure.end()

    async def test_a_function_in_threads_gets_more_as_well(self, bench: Bench) -> None:
        name, running, most = bench.name("threads"), set[int](), 0

        def threads() -> None:
            nonlocal most
            mark = id(object())
            running.add(mark)
            most = max(most, len(running))
            time.sleep(0.1)
            running.discard(mark)

        server = await bench.server(service(threads, name, fetch_size=auto(2, 40)))
        pressure = _Pressure(await bench.client(), name, 60, "sync")
        await until(lambda: server.services.runners[name].running >= 12)
        await pressure.end()

    async def test_a_backend_that_bears_little_gets_little(self, bench: Bench) -> None:
        """The calls that a worker has fetched and cannot start soon go to another one."""
        name, one_by_one = bench.name("little"), asyncio.Lock()
        second_runs = asyncio.Event()

        async def little() -> None:
            async with one_by_one:
                await asyncio.sleep(0.01)

        async def quick() -> None:
            second_runs.set()
            await asyncio.sleep(0)

        server = await bench.server(service(little, name, fetch_size=auto(1, 64)))
        pressure = _Pressure(await bench.client(), name, 30)
        runner = server.services.runners[name]
        assert isinstance(runner, AdaptiveServiceRunner)
        held = 8 if isinstance(runner.consumer, AdjustableConsumer) else 30
        await until(lambda: runner.limit <= 3 and server.active_requests <= held)
        await bench.server(service(quick, name, fetch_size=4))
        await soon(second_runs.wait())
        await pressure.end()

    async def test_bounds_hold(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name("bounds")
        server = await bench.server(gate.service(name, "here", fetch_size=auto(1, 3)))
        client = await bench.client()
        calls = [asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE))) for _ in range(10)]
        await until(lambda: gate.running == 3)
        # As many again are fetched until it is known how long they take.
        held = 6 if isinstance(server.services.runners[name].consumer, AdjustableConsumer) else 3
        await until(lambda: server.active_requests == held)
        assert gate.most == 3
        gate.opened.set()
        assert await soon(asyncio.gather(*calls)) == ["here"] * 10
        assert gate.most == 3

    async def test_bounds_hold_with_classes_and_when_each_call_runs_at_most_once(self, bench: Bench) -> None:
        for limits in ({"classes": {"interactive": None, "batch": None}}, {"delivery": "at-most-once"}, {"fair": True}):
            gate, name = Gate(), bench.name("bounds")
            await bench.server(gate.service(name, "here", fetch_size=auto(1, 3), **limits))
            client = await bench.client()
            calls = [asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE))) for _ in range(10)]
            await until(lambda gate=gate: gate.running == 3)  # type: ignore[misc]
            gate.opened.set()
            assert await soon(asyncio.gather(*calls)) == ["here"] * 10
            assert gate.most == 3

    async def test_it_can_be_switched_on_and_off_while_calls_run(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name("switched")
        server = await bench.server(gate.service(name, "here", fetch_size=2))
        client = await bench.client()
        calls = [asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE))) for _ in range(20)]
        await until(lambda: gate.running == 2)
        limited: list[Callable[..., Any]] = [
            lambda schema: schema.with_limits(fetch_size=auto(4, 4)),
            lambda schema: schema.with_limits(fetch_size=5),
        ]
        for limit, runs in zip(limited, (4, 5), strict=True):
            await soon(server.update(name, limit))
            await until(lambda runs=runs: gate.running == runs)  # type: ignore[misc]
        gate.opened.set()
        assert await soon(asyncio.gather(*calls)) == ["here"] * 20
        assert gate.most == 5

    async def test_a_consumer_receives_more_at_a_time_when_told_so_and_fewer(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=2), Worker()
        consumer = await soon((await bench.transport()).serve(queue, worker))
        if not isinstance(consumer, AdjustableConsumer):
            pytest.skip("the transport cannot change what a consumer fetches")
        caller, _ = await bench.caller()
        for number in range(40):
            caller.send(request_to(queue, b"%d" % number))
        held = [await worker.next() for _ in range(2)]
        await soon(consumer.set_fetch_size(6))
        held += [await worker.next() for _ in range(4)]
        await soon(consumer.set_fetch_size(3))
        seen = len(held)
        while seen < 40:
            held.pop(0).reply(_NOTHING)
            while not worker.requests.empty():
                held.append(worker.requests.get_nowait())
                seen += 1
            if not held:
                held.append(await worker.next())
                seen += 1
            assert len(held) <= 6 + 6 + 3  # what RabbitMQ has delivered before does not count there
        numbers = {bytes(one.correlation_id) for one in held}
        assert b"39" in numbers
        assert consumer.live

    async def test_what_was_set_holds_on_the_next_connection(
        self, bench: Bench, break_connection: Callable[[Any], Any]
    ) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        transport = await bench.transport()
        consumer = await soon(transport.serve(queue, worker))
        if not isinstance(consumer, AdjustableConsumer):
            pytest.skip("the transport cannot change what a consumer fetches")
        await soon(consumer.set_fetch_size(3))
        await soon(break_connection(transport))
        await soon(worker.losses.get()) if not worker.losses.empty() else None
        await until(lambda: consumer.live)
        caller, _ = await bench.caller()
        for number in range(6):
            caller.send(request_to(queue, b"%d" % number))
        for _ in range(3):
            await worker.next()

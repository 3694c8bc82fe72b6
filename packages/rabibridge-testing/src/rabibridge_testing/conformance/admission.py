"""Client and server on the transport: calls that a worker could run, and refuses."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._server.run_times import MIN_RUNS
from rabibridge_core.errors import CallTimeoutError, DeadlineTooShortError, QueueFullError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, longer, service, soon

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["AdmissionConformance"]

_LONG = CallOptions("async", PATIENCE)


class AdmissionConformance(ConformanceBase):
    """A worker refuses what would run for nothing, and says that it did not run."""

    async def test_a_call_that_cannot_end_in_its_time_is_refused_and_does_not_run(self, bench: Bench) -> None:
        started = set[int]()

        async def run(number: int, seconds: float) -> int:
            started.add(number)
            await asyncio.sleep(seconds)
            return number

        name = bench.name("slow")
        server = await bench.server(service(run, name, fetch_size=MIN_RUNS))
        client = await bench.client()
        refused: DeadlineTooShortError | None = None
        seconds = 0.0
        for seconds in longer(0.5):
            with pytest.raises(CallTimeoutError):  # from a wasted run on, runs are measured
                await client.call(name, (0, seconds), {}, CallOptions("async", seconds * 0.9))
            runs = (client.call(name, (each, seconds), {}, _LONG) for each in range(MIN_RUNS))
            await soon(asyncio.gather(*runs))
            short = CallOptions("async", seconds * 0.9)
            for number in range(MIN_RUNS, MIN_RUNS + 3):  # the first one is a probe, which runs
                started.discard(number)
                with pytest.raises(CallTimeoutError) as late:
                    await client.call(name, (number, seconds), {}, short)
                if isinstance(late.value, DeadlineTooShortError):
                    refused = late.value
                    assert number not in started
            if refused is not None:  # the machine was quick enough to have time left when the call arrived
                break
        assert refused is not None
        assert (refused.func_name, refused.executed, refused.timeout) == (name, False, seconds * 0.9)
        counts = server.services.statistics_of(name).counts()
        assert counts.refused_late == counts.refused > 0
        assert await soon(client.call(name, (0, seconds), {}, _LONG)) == 0
        assert client.pending == 0

    async def test_a_call_that_waits_for_too_long_is_refused_as_by_a_full_queue(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name, "here", fetch_size=1, max_wait=0.2))
        client = await bench.client()
        running = asyncio.create_task(client.call(name, (), {}, _LONG))
        await soon(gate.started.get())
        for _ in range(3):
            with pytest.raises(QueueFullError) as refused:
                await soon(client.call(name, (), {}, _LONG))
            assert (refused.value.func_name, refused.value.executed) == (name, False)
            assert refused.value.retry_after is not None
            assert refused.value.retry_after > 0
        gate.opened.set()
        assert await soon(running) == "here"
        counts = server.services.statistics_of(name).counts()
        assert 1 <= counts.refused_waiting == counts.refused <= 3, "the client may refuse some itself"
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(QueueFullError):
                    assert await client.call(name, (), {}, _LONG) == "here"
                    break
                await asyncio.sleep(0.1)
        assert gate.running == 0
        assert client.pending == 0

    async def test_calls_behind_a_long_one_are_refused_on_arrival(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name, "here", fetch_size=1, fetch_ahead=0, max_wait=0.2))
        client = await bench.client()
        running = asyncio.create_task(client.call(name, (), {}, _LONG))
        await soon(gate.started.get())
        waiting = [asyncio.create_task(client.call(name, (), {}, _LONG)) for _ in range(5)]
        await asyncio.sleep(0.5)  # they wait in the broker, where nobody sees them
        gate.opened.set()
        assert await soon(running) == "here"
        for call in waiting:
            with pytest.raises(QueueFullError):
                await soon(call)
        assert gate.started.empty()

    async def test_the_limit_of_the_wait_changes_without_another_queue(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        gate.opened.set()
        first = await bench.server(gate.service(name, "first", max_wait=0.2))
        second = await bench.server(gate.service(name, "second", max_wait=5))
        client = await bench.client()
        await soon(first.close())
        assert await soon(client.call(name, (), {}, _LONG)) == "second"
        assert second.health().ok

"""Client and server on the transport: the deadline that nested calls inherit."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import CallTimeoutError, QueueFullError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, longer, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["DeadlineConformance"]


async def _once_accepted(client: Client, name: str, options: CallOptions) -> None:
    """Return when the queue accepts a call, whether or not it is answered in time."""
    while True:
        with suppress(CallTimeoutError):
            try:
                await client.call(name, (), {}, options)
            except QueueFullError:  # the broker drops what has expired a moment later than the client gives up
                await asyncio.sleep(0.01)
                continue
        return


async def _times_out(client: Client, name: str, text: str) -> CallTimeoutError:
    """Call until the error says ``text``: a client waits 0.1 s for the broker to tell the state of the queue."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with pytest.raises(CallTimeoutError, match="never had an answer") as late:
                await client.call(name, (), {}, CallOptions("async", 0.5))
            if re.search(text, str(late.value)):
                return late.value


async def _time_left() -> float | None:
    return current_call().time_left


class DeadlineConformance(ConformanceBase):
    """A call made in a handler gets at most the remaining time of the call that the handler answers."""

    async def test_a_nested_call_inherits_the_deadline(self, bench: Bench) -> None:
        inner, outer = bench.name("inner"), bench.name("outer")
        client = await bench.client()

        async def through(timeout: float | None, inherit: bool) -> Any:
            return await client.call(inner, (), {}, CallOptions("async", timeout, inherit_deadline=inherit))

        await bench.server(service(_time_left, inner), service(through, outer))
        own = 10 * PATIENCE
        for given, inherit, expected in (
            (None, True, own),
            (100 * PATIENCE, True, own),
            (3 * PATIENCE, True, 3 * PATIENCE),
            (100 * PATIENCE, False, 100 * PATIENCE),
        ):
            left = await soon(client.call(outer, (given, inherit), {}, CallOptions("async", own)))
            assert expected - PATIENCE < left <= expected
        assert await client.call(outer, (None, False), {}, CallOptions("async", PATIENCE)) is None
        assert await client.call(outer, (None, True), {}, CallOptions("async", None)) is None

    async def test_a_nested_call_ends_with_the_outer_one(self, bench: Bench) -> None:
        inner, outer, gate = bench.name("inner"), bench.name("outer"), Gate()
        client = await bench.client()

        async def through() -> Any:
            return await client.call(inner, (), {}, CallOptions("async", None))

        await bench.server(gate.service(inner), service(through, outer))
        for timeout in longer(0.5):
            with pytest.raises(CallTimeoutError):
                await client.call(outer, (), {}, CallOptions("async", timeout))
            if not gate.started.empty():  # the call was in time to make the nested one
                break
        await soon(gate.ended.get())
        await until(lambda: client.pending == 0)

    async def test_a_call_that_times_out_says_what_is_known(self, bench: Bench) -> None:
        name, gate = bench.name(), Gate()
        server = await bench.server(gate.service(name, fetch_size=1), drain_timeout=0)
        client, other = await bench.client(), await bench.client()
        options = CallOptions("async", PATIENCE)
        running, waiting = (asyncio.create_task(client.call(name, (), {}, options)) for _ in range(2))
        await soon(gate.started.get())
        await _times_out(client, name, r"1 worker serves it now.*never had an answer")
        gate.opened.set()
        await soon(asyncio.gather(running, waiting))
        await soon(server.close())
        late = await _times_out(other, name, r"no worker serves it now.*never had an answer")
        assert late.executed is None

    @pytest.mark.parametrize("longer", [True, False], ids=["behind a longer one", "all alike"])
    async def test_calls_that_have_timed_out_take_room_only_behind_one_that_has_not(
        self, bench: Bench, longer: bool
    ) -> None:
        name, gate = bench.name("busy"), Gate()
        long, short = CallOptions("async", PATIENCE), CallOptions("async", 0.5)
        await bench.server(gate.service(name, fetch_size=1, queue_size=3))
        client = await bench.client()
        running = asyncio.create_task(client.call(name, (), {}, long))
        await soon(gate.started.get())
        ahead = [asyncio.create_task(client.call(name, (), {}, long))] if longer else []
        short_ones = [asyncio.create_task(client.call(name, (), {}, short)) for _ in range(3 - len(ahead))]
        ends = await soon(asyncio.gather(*short_ones, return_exceptions=True))
        assert {type(end) for end in ends} == {CallTimeoutError}
        if longer:
            with pytest.raises(QueueFullError):
                await soon(client.call(name, (), {}, long))
            gate.opened.set()  # the worker takes the longer one, and the broker drops those behind it
        await soon(_once_accepted(client, name, short))
        gate.opened.set()
        await soon(asyncio.gather(running, *ahead))

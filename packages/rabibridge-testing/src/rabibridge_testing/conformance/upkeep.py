"""The engines on the transport: the time that nested calls inherit, and what health tells."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import CallTimeoutError
from rabibridge_core.transport import ConnectionState
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until
from rabibridge_testing.conformance.limits import Gate

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench, Unreachable

__all__ = ["DeadlineConformance", "HealthConformance"]


async def _time_left() -> float | None:
    return current_call().time_left


class DeadlineConformance(ConformanceBase):
    """A call made in a handler has at most what is left to the call that it answers."""

    async def test_a_nested_call_inherits_the_deadline(self, bench: Bench) -> None:
        inner, outer = bench.name("inner"), bench.name("outer")
        client = await bench.client()

        async def through(timeout: float | None, inherit: bool) -> Any:
            return await client.call(inner, (), {}, CallOptions("async", timeout, inherit_deadline=inherit))

        await bench.server(service(_time_left, inner), service(through, outer))
        for given, inherit, expected in (
            (None, True, PATIENCE),
            (600.0, True, PATIENCE),
            (10.0, True, 10.0),
            (600.0, False, 600.0),
        ):
            left = await client.call(outer, (given, inherit), {}, CallOptions("async", PATIENCE))
            assert expected / 2 < left <= expected
        assert await client.call(outer, (None, False), {}, CallOptions("async", PATIENCE)) is None
        assert await client.call(outer, (None, True), {}, CallOptions("async", None)) is None

    async def test_a_nested_call_ends_with_the_outer_one(self, bench: Bench) -> None:
        inner, outer, gate = bench.name("inner"), bench.name("outer"), Gate()
        client = await bench.client()

        async def through() -> Any:
            return await client.call(inner, (), {}, CallOptions("async", None))

        await bench.server(gate.service(inner), service(through, outer))
        with pytest.raises(CallTimeoutError):
            await client.call(outer, (), {}, CallOptions("async", 0.5))
        await soon(gate.ended.get())
        await until(lambda: client.pending == 0)


class HealthConformance(ConformanceBase):
    """Health is true while work can be done, and says what is missing while not."""

    async def test_a_client(self, bench: Bench, cut_off: Unreachable) -> None:
        client = await bench.client(connect=False)
        assert not client.health()
        await soon(client.connect())
        assert client.health()
        assert client.health().reasons == ()
        assert client.health().state is ConnectionState.READY
        async with cut_off(client.transport):
            await until(lambda: not client.health())
            assert client.health().reasons
            assert client.health().state is not ConnectionState.READY
        await until(client.health)
        await soon(client.close())
        assert not client.health()
        assert client.health().reasons

    async def test_a_server(self, bench: Bench, cut_off: Unreachable) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name), start=False)
        assert not server.health()
        await soon(server.start())
        await until(server.health)
        assert server.health().reasons == ()
        async with cut_off(server.transport):
            await until(lambda: not server.health())
            assert server.health().reasons
        await until(server.health)
        call = asyncio.create_task((await bench.client()).call(name, (), {}, CallOptions("async", PATIENCE)))
        await soon(gate.started.get())
        closing = asyncio.create_task(server.close())
        await until(lambda: not server.health())  # while it finishes what it has in hand
        assert not call.done()
        gate.opened.set()
        await soon(asyncio.gather(call, closing))
        assert not server.health()

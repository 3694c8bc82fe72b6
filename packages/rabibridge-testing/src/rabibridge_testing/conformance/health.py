"""Client and server on the transport: what health reports."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._client.options import CallOptions
from rabibridge_core.transport import ConnectionState
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, soon, until

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench, Unreachable

__all__ = ["HealthConformance"]


class HealthConformance(ConformanceBase):
    """Health is true while calls can be made or served; otherwise it gives the reasons."""

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
        await until(lambda: not server.health())  # while the running call finishes
        assert not call.done()
        gate.opened.set()
        await soon(asyncio.gather(call, closing))
        assert not server.health()

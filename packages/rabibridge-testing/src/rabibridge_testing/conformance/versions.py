"""Client and server on the transport: two versions of a service side by side, and requests that were sent before."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import ConnectionLostError, InvalidArgumentsError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, Unreachable

__all__ = ["VersionsConformance"]


async def _first() -> str:
    return "first"


async def _second() -> str:
    return "second"


async def _accepted(client: Client, count: int) -> None:
    """Wait until the broker has confirmed so many calls."""
    await until(lambda: client.pending == count and client.calls.caller and not client.calls.caller.unconfirmed)


class VersionsConformance(ConformanceBase):
    """What a client has learned of a service is a hint: it is never the cause of an error."""

    async def test_an_idempotent_and_an_at_most_once_version(self, bench: Bench) -> None:
        name = bench.name()
        await bench.server(service(_first, name, idempotent=True, fetch_size=1))
        client = await bench.client()
        options = CallOptions("async", PATIENCE)
        assert await soon(client.call(name, (), {}, options)) == "first"
        await bench.server(service(_second, name, delivery="at-most-once", fetch_size=1))
        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 2:
                seen.update(await asyncio.gather(*(client.call(name, (), {}, options) for _ in range(20))))
        asked = (client.call(name, (), {}, options._replace(idempotent=True)) for _ in range(50))
        outcomes = await soon(asyncio.gather(*asked, return_exceptions=True))
        refused = [outcome for outcome in outcomes if isinstance(outcome, InvalidArgumentsError)]
        assert refused  # the caller has asked for what the second version forbids
        assert {str(outcome) for outcome in outcomes if outcome not in refused} == {"first"}

    async def test_a_call_that_was_sent_before_does_not_start_at_most_once(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name, gate = bench.name(), Gate()
        old = await bench.server(service(_first, name, idempotent=True), drain_timeout=0)
        client = await bench.client()
        assert await soon(client.call(name, (), {}, CallOptions("async", PATIENCE))) == "first"
        await soon(old.close())
        await bench.server(gate.service(name, delivery="at-most-once"))
        call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE)))
        await soon(gate.started.get())
        await break_connection(client.transport)
        with pytest.raises(ConnectionLostError) as lost:  # it runs once, and its result is lost
            await soon(call)
        assert lost.value.executed is None
        assert gate.started.empty()
        gate.opened.set()

    async def test_a_call_that_was_sent_before_knows_it(self, bench: Bench, cut_off: Unreachable) -> None:
        name, gate, seen = bench.name(), Gate(), list[bool]()

        async def look() -> None:
            seen.append(current_call().redelivered)
            await gate.opened.wait()

        server = await bench.server(service(look, name), drain_timeout=0)
        client = await bench.client()
        call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE, idempotent=True)))
        await until(lambda: seen == [False])
        async with cut_off(client.transport):
            await soon(server.close())
        await bench.server(service(look, name))  # it remembers no key
        gate.opened.set()
        await soon(call)
        assert set(seen[1:]) == {True}

    async def test_the_queue_is_full_of_the_first_attempts(self, bench: Bench, cut_off: Unreachable) -> None:
        """Calls that were accepted keep their place: sent again, they are not refused because of themselves."""
        name = bench.name()
        server = await bench.server(service(_first, name, queue_size=2, fetch_size=1), drain_timeout=0)
        client = await bench.client()
        await soon(server.close())
        options = CallOptions("async", PATIENCE, idempotent=True)
        calls = [asyncio.create_task(client.call(name, (), {}, options)) for _ in range(2)]
        await _accepted(client, 2)
        async with cut_off(client.transport):
            pass
        await until(client.health)
        await asyncio.sleep(0.2)  # let them be refused
        await bench.server(service(_second, name, queue_size=2, fetch_size=1))
        assert await soon(asyncio.gather(*calls)) == ["second", "second"]

    async def test_closing_tells_which_calls_are_in_the_queue(self, bench: Bench) -> None:
        name = bench.name()
        server = await bench.server(service(_first, name, queue_size=1), drain_timeout=0)
        client = await bench.client()
        await soon(server.close())
        options = CallOptions("async", PATIENCE, persistent=True)
        call = asyncio.create_task(client.call(name, (), {}, options))
        await _accepted(client, 1)
        await soon(client.close())
        with pytest.raises(ConnectionLostError) as lost:
            await soon(call)
        assert (lost.value.executed, lost.value.accepted) == (None, True)

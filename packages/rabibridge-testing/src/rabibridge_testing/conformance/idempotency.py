"""Client and server on the transport: idempotent calls, which run a second time only if they must."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, RemoteExecutionError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, longer, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, Unreachable

__all__ = ["IdempotencyConformance"]


def _call(client: Client, name: str, *args: Any, timeout: float | None = None, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call(name, args, {}, CallOptions("async", timeout, **options)))


class _Counter:
    """A service that counts how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    def service(self, name: str, **limits: Any) -> Any:
        async def count(_: object = None) -> int:
            self.runs += 1
            return self.runs

        return service(count, name, **limits)


class IdempotencyConformance(ConformanceBase):
    """Sent again after a lost connection, and answered without running again if possible."""

    @pytest.mark.parametrize("options", [{"idempotent": True}, {"idempotency_key": "order 7"}], ids=["flag", "key"])
    async def test_it_survives_the_clients_connection_and_runs_once(
        self, bench: Bench, cut_off: Unreachable, options: dict[str, Any]
    ) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name, "here"))
        client = await bench.client()
        call = _call(client, name, **options)
        await soon(gate.started.get())
        for _ in range(2):
            async with cut_off(client.transport):
                assert client.pending == 1
            await until(client.health)
        gate.opened.set()
        assert await soon(call) == "here"
        assert gate.started.empty()
        assert client.pending == 0

    async def test_it_survives_both_connections(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, gate = bench.name("gate"), Gate()
        server = await bench.server(gate.service(name, "here"))
        client = await bench.client()
        calls = [_call(client, name, idempotent=True, timeout=PATIENCE) for _ in range(20)]
        for _ in calls:
            await soon(gate.started.get())
        await break_connection(server.transport)
        await break_connection(client.transport)
        gate.opened.set()
        assert await soon(asyncio.gather(*calls)) == ["here"] * 20
        assert client.pending == 0

    async def test_a_service_that_is_known_to_be_idempotent(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        known, unknown, gate = bench.name("known"), bench.name("unknown"), Gate()
        await bench.server(gate.service(known, "known", idempotent=True), gate.service(unknown, "unknown"))
        client = await bench.client()
        gate.opened.set()
        for name in (known, unknown):  # their replies say which of them is idempotent
            await client.call(name, (), {}, CallOptions("async", PATIENCE))
            await soon(gate.started.get())
        gate.opened.clear()
        survives, ends = _call(client, known), _call(client, unknown)
        for _ in range(2):
            await soon(gate.started.get())
        await break_connection(client.transport)
        with pytest.raises(ConnectionLostError):
            await soon(ends)
        gate.opened.set()
        assert await soon(survives) == "known"
        assert gate.started.empty()

    async def test_one_key_is_answered_again_without_running(self, bench: Bench) -> None:
        name, other, counter = bench.name("count"), bench.name("count"), _Counter()
        await bench.server(counter.service(name), counter.service(other))
        clients = [await bench.client() for _ in range(2)]
        for client in clients:
            assert await soon(_call(client, name, idempotency_key="a")) == 1
        assert await soon(_call(clients[0], name, idempotency_key="b")) == 2
        assert await soon(_call(clients[0], other, idempotency_key="a")) == 3  # a key belongs to its service
        assert [await soon(_call(clients[0], name, idempotent=True)) for _ in range(2)] == [4, 5]

    async def test_what_runs_already_is_joined(self, bench: Bench) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name, "once"))
        clients = [await bench.client() for _ in range(3)]
        first = _call(clients[0], name, idempotency_key="a")
        await soon(gate.started.get())
        joining = [_call(client, name, idempotency_key="a") for client in clients[1:]]
        another = _call(clients[0], name, idempotency_key="b")
        await soon(gate.started.get())
        joining[0].cancel()  # cancelling one call does not cancel those that share its execution
        await asyncio.wait(joining[:1])
        gate.opened.set()
        assert [await soon(call) for call in (first, joining[1], another)] == ["once"] * 3
        assert gate.started.empty()

    async def test_an_error_is_an_answer_too(self, bench: Bench) -> None:
        runs = 0

        async def fail() -> None:
            nonlocal runs
            runs += 1
            raise LookupError(f"run {runs}")

        name = bench.name("fail")
        await bench.server(service(fail, name))
        client = await bench.client()
        for _ in range(2):
            with pytest.raises(RemoteExecutionError, match="run 1"):
                await soon(_call(client, name, idempotency_key="a"))

    async def test_one_key_with_other_arguments_is_refused(self, bench: Bench) -> None:
        name, counter = bench.name("count"), _Counter()
        await bench.server(counter.service(name))
        client = await bench.client()
        assert await soon(_call(client, name, 1, idempotency_key="a")) == 1
        with pytest.raises(RemoteExecutionError) as refused:
            await soon(_call(client, name, 2, idempotency_key="a"))
        assert refused.value.executed is False
        assert await soon(_call(client, name, 1, idempotency_key="a")) == 1
        assert counter.runs == 1

    async def test_its_timeout_goes_on_while_there_is_no_connection(self, bench: Bench, cut_off: Unreachable) -> None:
        name, gate = bench.name("gate"), Gate()
        await bench.server(gate.service(name), drain_timeout=0)
        client = await bench.client()
        timeouts = longer(0.5)
        while True:
            timeout = next(timeouts)
            call = _call(client, name, idempotent=True, timeout=timeout)
            await until(lambda call=call: call.done() or not gate.started.empty())  # type: ignore[misc]
            if not gate.started.empty():
                break
            with pytest.raises(CallTimeoutError):
                await call
        async with cut_off(client.transport):
            with pytest.raises(CallTimeoutError) as late:
                await soon(call)
        assert late.value.executed is None
        assert client.pending == 0

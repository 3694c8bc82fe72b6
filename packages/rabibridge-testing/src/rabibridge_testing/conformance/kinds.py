"""Services of one name in both kinds, async and sync: calls of kind ``any`` reach exactly one of them."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import NoRouteError, QueueFullError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["KindConformance"]

_OTHER = {"async": "sync", "sync": "async"}


class _Function:
    """A function in both kinds, which counts the calls of each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ran: list[str] = []

    def service(self, kind: str, **limits: Any) -> ServiceSchema:
        async def coroutine(number: int = 0) -> str:
            self.ran.append("async")
            return f"async {number}"

        def function(number: int = 0) -> str:
            self.ran.append("sync")
            return f"sync {number}"

        return service(coroutine if kind == "async" else function, self.name, **limits)


async def _call(client: Client, name: str, *args: Any, kind: Any = "any", timeout: float = PATIENCE) -> Any:
    return await client.call(name, args, {}, CallOptions(kind, timeout))


class KindConformance(ConformanceBase):
    """Services of one name in both kinds."""

    @pytest.mark.parametrize("prefix", ["async_", "sync_", "any_"])
    async def test_a_name_that_begins_like_a_key_gets_no_calls_of_another_service(
        self, bench: Bench, prefix: str
    ) -> None:
        name = bench.name()
        short, long = _Function(name), _Function(prefix + name)
        await bench.server(short.service("async"), long.service("async"))
        client = await bench.client()
        for kind in ("async", "any"):
            assert await _call(client, name, 1, kind=kind) == "async 1"
            assert await _call(client, prefix + name, 2, kind=kind) == "async 2"
        with pytest.raises(NoRouteError):
            await _call(client, name, kind="sync")
        assert short.ran == long.ran == ["async"] * 2

    @pytest.mark.parametrize("first", ["async", "sync"])
    async def test_while_both_kinds_are_served_the_async_one_gets_calls_of_any_kind(
        self, bench: Bench, first: str
    ) -> None:
        function = _Function(bench.name())
        await bench.server(function.service(first))
        await bench.server(function.service(_OTHER[first]))
        client = await bench.client()
        for number in range(3):
            assert await _call(client, function.name, number) == f"async {number}"
            assert await _call(client, function.name, number, kind="sync") == f"sync {number}"
        assert sorted(function.ran) == ["async"] * 3 + ["sync"] * 3

    @pytest.mark.parametrize("before", ["async", "sync"])
    async def test_a_function_whose_kind_was_changed_gets_all_calls_of_any_kind(
        self, bench: Bench, before: str
    ) -> None:
        function, now = _Function(bench.name()), _OTHER[before]
        old = await bench.server(function.service(before, queue_size=2))
        client = await bench.client()
        assert await _call(client, function.name) == f"{before} 0"
        await soon(old.close())
        function.ran.clear()
        await bench.server(function.service(now, queue_size=2))
        for number in range(5):
            assert await _call(client, function.name, number) == f"{now} {number}"
        assert function.ran == [now] * 5
        with pytest.raises(NoRouteError):  # the queue of its old kind, unused and empty, is gone
            await _call(client, function.name, kind=before)

    @pytest.mark.parametrize("before", ["async", "sync"])
    async def test_calls_that_wait_for_the_old_kind_are_kept_and_none_of_any_kind_is_added(
        self, bench: Bench, before: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        function, now = _Function(bench.name()), _OTHER[before]
        old = await bench.server(function.service(before), start=False)
        client = await bench.client()
        waiting = asyncio.ensure_future(_call(client, function.name, 7, kind=before))
        await until(lambda: client.pending == 1 and client.calls.caller and not client.calls.caller.unconfirmed)
        await soon(old.close())
        await bench.server(function.service(now))
        for number in range(3):
            assert await _call(client, function.name, number) == f"{now} {number}"
        assert any("no worker serves" in record.getMessage() for record in caplog.records)
        assert not waiting.done()
        await bench.server(function.service(before))
        assert await soon(waiting) == f"{before} 7"

    async def test_a_refused_call_of_any_kind_was_run_by_nobody(self, bench: Bench) -> None:
        function, gate = _Function(bench.name()), Gate()
        await bench.server(gate.service(function.name, "gate", queue_size=1, fetch_size=1))
        await bench.server(function.service("sync"))
        client = await bench.client()
        running = asyncio.ensure_future(_call(client, function.name))
        await soon(gate.started.get())
        waits, refused = (asyncio.ensure_future(_call(client, function.name)) for _ in range(2))
        with pytest.raises(QueueFullError) as full:
            await soon(refused)
        assert full.value.executed is False
        gate.opened.set()
        assert [await soon(call) for call in (running, waits)] == ["gate", "gate"]
        assert function.ran == []

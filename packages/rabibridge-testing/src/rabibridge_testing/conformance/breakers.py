"""Client and server on the transport: circuit breakers, and the retry budget that all services of a client share."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._client.circuit import CircuitBreaker
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._client.retry_budget import RetryBudget
from rabibridge_core.errors import CircuitOpenError, NoRouteError, QueueFullError, RemoteExecutionError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import ConformanceBase, service, soon

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["BreakerConformance"]


class BreakerConformance(ConformanceBase):
    """``client.options(breaker=...)``, and ``RetryRefused(budget=...)``."""

    async def test_a_service_that_fails_is_not_called_until_a_probe_succeeds(self, bench: Bench) -> None:
        name, ran, broken = bench.name(), 0, True

        async def work() -> str:
            nonlocal ran
            ran += 1
            if broken:
                raise OSError("the disk is full")
            return "well"

        await bench.server(service(work, name))
        client = await bench.rpc_client()
        view = client.options(breaker=CircuitBreaker(minimum=3, open_for=0.05))
        for _ in range(3):
            with pytest.raises(RemoteExecutionError):
                await soon(view.call(name))
        lasting = client.options(breaker=CircuitBreaker(minimum=3, open_for=3600))
        for _ in range(3):
            with pytest.raises(RemoteExecutionError):
                await soon(lasting.call(name))
        with pytest.raises(CircuitOpenError) as caught:
            await soon(lasting.call(name))
        assert caught.value.executed is False
        assert 3000 < caught.value.retry_after < 4000
        assert ran == 6
        broken = False

        async def until_it_closes() -> str:
            while True:
                try:
                    return str(await view.call(name))
                except CircuitOpenError as error:
                    await asyncio.sleep(error.retry_after)

        assert await soon(until_it_closes()) == "well"

    async def test_refusals_open_it(self, bench: Bench) -> None:
        client = await bench.rpc_client()
        view, name = client.options(breaker=CircuitBreaker(minimum=2, open_for=3600)), bench.name()
        for _ in range(2):
            with pytest.raises(NoRouteError):
                await soon(view.call(name))
        with pytest.raises(CircuitOpenError):
            await soon(view.call(name))
        assert f"the circuit breaker of {name!r} is open" in " ".join(client.health().reasons)

    async def test_full_queues_of_several_services_share_one_retry_budget(self, bench: Bench) -> None:
        gate, names = Gate(), [bench.name() for _ in range(3)]
        await bench.server(*(gate.service(name, queue_size=1, fetch_size=1) for name in names))
        client = await bench.rpc_client()
        policy = RetryRefused(attempts=1000, base=0.001, cap=0.002, budget=RetryBudget(ratio=0.2, per_second=0.0))
        view = client.options(retry=policy, timeout=60)
        calls = [asyncio.ensure_future(view.call(name)) for name in names for _ in range(20)]
        refused: list[QueueFullError] = []
        while len(refused) < 60 - 2 * len(names):
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            calls = [call for call in calls if call not in done]
            refused += [error for call in done if isinstance(error := call.exception(), QueueFullError)]
        assert sum(error.attempts - 1 for error in refused) <= 12
        gate.opened.set()
        await soon(asyncio.gather(*calls))

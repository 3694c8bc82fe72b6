"""The rate of a service, which its workers share."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import QueueFullError
from rabibridge_core.transport import ConsumerCounter, Transport
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._server.server import Server
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["RateConformance"]

_ONCE = "1/d"
"""One call starts at once, and no other one while a test runs."""


def _counts(transport: Transport) -> ConsumerCounter:
    if not isinstance(transport, ConsumerCounter):
        pytest.skip("the transport does not count the consumers of a queue")
    return transport


def _share(server: Server, name: str) -> float:
    rate = server.services[name].processor.rate
    return 0.0 if rate is None or not rate.share.known else rate.share.rate


def _waiting(server: Server, name: str) -> int:
    rate = server.services[name].processor.rate
    return 0 if rate is None else len(rate.waiting)


class RateConformance(ConformanceBase):
    """``rate=``, and :class:`~rabibridge_core.transport.ConsumerCounter`, which it needs."""

    async def test_consumers_are_counted_over_all_connections(self, bench: Bench) -> None:
        async def work() -> None: ...

        name = bench.name()
        counter = _counts(await bench.transport())
        queue = service(work, name).queue
        assert await soon(counter.count_consumers(queue)) in (None, 0)
        servers = [await bench.server(service(work, name)) for _ in range(2)]
        assert await soon(counter.count_consumers(queue)) == 2
        await soon(servers[0].close())
        async with asyncio.timeout(PATIENCE):
            while await counter.count_consumers(queue) != 1:  # noqa: ASYNC110 - nothing tells when the broker has noticed
                await asyncio.sleep(0.02)

    async def test_what_cannot_start_in_its_time_is_refused_at_once_and_does_not_run(self, bench: Bench) -> None:
        schema, ran = await self._service(bench, fetch_size=4)
        server, client = await bench.server(schema), await bench.client()
        assert await soon(client.call(schema.name, (1,), {}, CallOptions("async", PATIENCE))) == 1
        for number in (2, 3):  # not even those that come later, as a refused call takes no turn
            with pytest.raises(QueueFullError, match="calls/s") as refused:
                await soon(client.call(schema.name, (number,), {}, CallOptions("async", PATIENCE)))
            assert refused.value.executed is False
            assert refused.value.retry_after == pytest.approx(86400, abs=3 * PATIENCE)
        assert ran == [1]
        counts = server.services.statistics_of(schema.name).counts()
        assert (counts.succeeded, counts.refused) == (1, 2)
        status = server.report.status(schema.name, frozenset())["services"][0]
        assert (status["rate_waiting"], status["rate_refused"]) == (0, 2)
        assert status["rate_limit"] == status["rate_share"] == pytest.approx(1 / 86400)

    async def test_calls_wait_for_their_turn_and_keep_their_order(self, bench: Bench) -> None:
        schema, ran = await self._service(bench, rate=20)
        await bench.server(schema)
        client = await bench.client()
        calls = []
        for number in range(6):
            calls.append(asyncio.create_task(client.call(schema.name, (number,), {}, CallOptions("async", PATIENCE))))
            await until(lambda: client.pending + len(ran) > len(calls) - 1)
        began = asyncio.get_running_loop().time()
        assert await soon(asyncio.gather(*calls)) == ran == list(range(6))
        assert asyncio.get_running_loop().time() - began < PATIENCE / 2

    async def test_a_call_that_is_cancelled_leaves_its_place(self, bench: Bench) -> None:
        schema, ran = await self._service(bench)
        server, client = await bench.server(schema), await bench.client()
        await soon(client.call(schema.name, (1,), {}, CallOptions("async", None)))
        waits = asyncio.create_task(client.call(schema.name, (2,), {}, CallOptions("async", None)))
        await until(lambda: _waiting(server, schema.name) == 1)
        waits.cancel()
        await until(lambda: not _waiting(server, schema.name) and not server.active_requests)
        assert ran == [1]

    async def test_streams_and_notifications_count_when_they_start(self, bench: Bench) -> None:
        async def numbers() -> AsyncIterator[int]:
            for number in range(5):
                yield number

        _counts(await bench.transport())
        name = bench.name()
        server = await bench.server(service(numbers, name, rate=_ONCE))
        client = await bench.rpc_client()
        async with aclosing(client.stream(name)) as stream:
            assert await soon(_all(stream)) == list(range(5))
        with pytest.raises(QueueFullError):
            async with aclosing(client.options(timeout=PATIENCE).stream(name)) as stream:
                await soon(_all(stream))
        schema, ran = await self._service(bench)
        server = await bench.server(schema)
        for number in (1, 2):
            await soon(client.options(timeout=PATIENCE).notify(schema.name, number))
        await until(lambda: server.services.statistics_of(schema.name).ended == 2)
        assert ran == [1]

    async def test_functions_in_threads_are_limited_as_well(self, bench: Bench) -> None:
        _counts(await bench.transport())
        ran: list[int] = []

        def work(number: int) -> None:
            ran.append(number)

        name = bench.name()
        await bench.server(service(work, name, rate=_ONCE))
        client = await bench.client()
        await soon(client.call(name, (1,), {}, CallOptions("sync", PATIENCE)))
        with pytest.raises(QueueFullError):
            await soon(client.call(name, (2,), {}, CallOptions("sync", PATIENCE)))
        assert ran == [1]

    async def test_a_refusal_is_not_kept_as_the_answer_to_an_idempotent_call(self, bench: Bench) -> None:
        schema, ran = await self._service(bench, idempotent=True)
        server, client = await bench.server(schema), await bench.client()
        options = CallOptions("async", PATIENCE, idempotent=True)
        assert await soon(client.call(schema.name, (1,), {}, options._replace(idempotency_key="one"))) == 1
        for _ in range(2):
            with pytest.raises(QueueFullError):
                await soon(client.call(schema.name, (2,), {}, options._replace(idempotency_key="two")))
        assert await soon(client.call(schema.name, (1,), {}, options._replace(idempotency_key="one"))) == 1
        rate = server.services[schema.name].processor.rate
        assert rate is not None
        assert (ran, rate.refused) == ([1], 2), "what was answered is answered again, without a turn"

    async def test_workers_share_it_and_what_waits_in_one_that_stops_goes_to_another(self, bench: Bench) -> None:
        schema, ran = await self._service(bench)
        first = await bench.server(schema)
        client = await bench.client()
        assert await soon(client.call(schema.name, (0,), {}, CallOptions("async", PATIENCE))) == 0
        assert _share(first, schema.name) == schema.rate
        second = await bench.server(service(schema.func_ptr, schema.name, rate=_ONCE))
        half = (schema.rate or 0.0) / 2
        await until(lambda: _share(first, schema.name) == _share(second, schema.name) == pytest.approx(half))
        calls = [
            asyncio.create_task(client.call(schema.name, (number,), {}, CallOptions("async", None)))
            for number in range(1, 4)
        ]
        await until(lambda: _waiting(first, schema.name) + _waiting(second, schema.name) == 3)
        await soon(first.close())
        await until(lambda: _waiting(second, schema.name) == 3)
        await until(lambda: _share(second, schema.name) == schema.rate)
        assert ran == [0]
        for call in calls:
            call.cancel()

    async def test_a_worker_whose_connection_was_cut_has_no_share_until_it_is_back(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        schema, ran = await self._service(bench, rate=1000)
        server, client = await bench.server(schema), await bench.client()
        await soon(client.call(schema.name, (1,), {}, CallOptions("async", PATIENCE)))
        assert _share(server, schema.name) == 1000
        await soon(break_connection(server.transport))
        await until(lambda: _share(server, schema.name) == 0 or server.services[schema.name].live)
        assert await soon(client.call(schema.name, (2,), {}, CallOptions("async", PATIENCE))) == 2
        assert _share(server, schema.name) == 1000
        assert ran == [1, 2]

    async def _service(self, bench: Bench, **limits: Any) -> tuple[ServiceSchema, list[int]]:
        """Return a service with a rate, and the list of the numbers that it was called with."""
        _counts(await bench.transport())
        ran: list[int] = []

        async def work(number: int) -> int:
            ran.append(number)
            return number

        return service(work, bench.name(), **{"rate": _ONCE, **limits}), ran


async def _all(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]

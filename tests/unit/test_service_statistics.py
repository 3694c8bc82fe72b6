"""What a worker counts for a service: every call once, by how it ended, in tables that stay small."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._server.statistics import ServiceStatistics
from rabibridge_core.errors import (
    CallTimeoutError,
    InvalidArgumentsError,
    RemoteExecutionError,
    ServiceError,
)
from rabibridge_core.introspection.calls import CallCounts
from rabibridge_core.introspection.latency import bucket_of
from rabibridge_testing import MemoryBroker
from rabibridge_testing.conformance import Bench
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import service
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._server.server import Server


class SoldOut(ServiceError, code="sold_out"):
    pass


class NotListed(ServiceError, code="not_listed"):
    pass


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    broker = MemoryBroker()

    async def make_transport() -> Any:
        return broker.transport()

    found = Bench(make_transport)
    yield found
    await found.close()


def _counts(server: Server, name: str) -> CallCounts:
    return server.services.statistics_of(name).counts()


async def test_every_call_is_counted_once_by_how_it_ended(bench: Bench) -> None:
    async def handler(what: str) -> str:
        if what == "raise":
            raise ValueError("raised")
        if what == "declared":
            raise SoldOut
        if what == "not listed":
            raise NotListed
        if what == "unsendable":
            return object()  # type: ignore[return-value]
        return what

    name = bench.name()
    server = await bench.server(service(handler, name, raises=(SoldOut,)))
    client = await bench.rpc_client()
    for what in ("a", "b", "c"):
        assert await soon(client.call(name, what)) == what
    for what in ("raise", "declared", "not listed", "unsendable"):
        with pytest.raises(RemoteExecutionError):
            await soon(client.call(name, what))
    with pytest.raises(InvalidArgumentsError):
        await soon(client.call(name))
    expected = CallCounts(succeeded=3, failed=3, declared=1, refused=1)
    with suppress(TimeoutError):
        await until(lambda: _counts(server, name) == expected)
    assert _counts(server, name) == expected
    statistics = server.services.statistics_of(name)
    assert statistics.latency().count == expected.calls
    assert {(one.kind, one.type.rpartition(".")[2]) for one in statistics.failures} == {
        ("failed", "ValueError"),
        ("failed", "NotListed"),
        ("failed", "SerializationError"),
        ("refused", "TypeError"),
    }


async def test_calls_that_are_stopped(bench: Bench) -> None:
    gate, name = Gate(), bench.name()
    server = await bench.server(gate.service(name, fetch_size=1, fetch_ahead=4), drain_timeout=0)
    client = await bench.rpc_client()
    timeout = 0.2
    while gate.started.empty():  # its time can be over before it starts
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=timeout).call(name)
        timeout *= 2
    await soon(gate.started.get())
    await until(lambda: server.active_requests == 0 and _counts(server, name).expired > 0)
    expired = _counts(server, name).expired
    running = asyncio.ensure_future(client.call(name))
    await soon(gate.started.get())
    waiting = asyncio.ensure_future(client.call(name))
    await until(lambda: server.active_requests == 2)
    for call in (waiting, running):
        call.cancel()
    await until(lambda: _counts(server, name) == CallCounts(expired=expired, cancelled=2))
    given_back = asyncio.ensure_future(client.call(name))
    await until(lambda: server.active_requests == 1)
    await soon(server.close())
    assert _counts(server, name).requeued == 1
    given_back.cancel()


async def test_broadcasts_are_counted_apart(bench: Bench) -> None:
    async def nothing() -> None:
        pass

    name = bench.name()
    server = await bench.server(service(nothing, name))
    client = await bench.rpc_client()
    async for reply in client.broadcast(name):
        assert reply.ok
    await soon(client.call(name))

    async def numbers() -> CallCounts:
        (worker,) = await client.workers()
        (found,) = worker.services
        return found.counts

    assert await numbers() == CallCounts(succeeded=1, broadcasts=1)
    assert _counts(server, name).calls == 1


async def test_a_service_that_is_gone_leaves_nothing_and_a_changed_one_keeps_its_counts(bench: Bench) -> None:
    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    name, other = bench.name(), bench.name()
    server = await bench.server(service(one, name), service(one, other))
    client = await bench.rpc_client()
    await soon(client.call(name))
    await server.change([], [service(two, name, fetch_size=7)])
    assert await soon(client.call(name)) == 2
    await until(lambda: _counts(server, name).succeeded == 2)
    await server.change([name], [])
    (worker,) = await client.workers()
    assert [service.name for service in worker.services] == [other]
    await server.change([], [service(one, name)])
    assert _counts(server, name).calls == 0


def test_failures_stay_few_and_short() -> None:
    statistics = ServiceStatistics()
    for number in range(100):
        kind = type(f"Error{number}", (Exception,), {})
        try:
            raise kind("x" * 100_000)
        except Exception as error:  # noqa: BLE001 - whatever it is
            statistics.record("failed", error)
    kept = statistics.failures
    assert [one.type.rpartition(".")[2] for one in kept] == [f"Error{number}" for number in range(99, 91, -1)]
    assert all(len(one.message) <= 500 and len(one.traceback) <= 4000 for one in kept)


def test_equal_failures_are_counted_together() -> None:
    statistics = ServiceStatistics()
    for number in range(1000):
        try:
            raise ValueError(f"text {number}")
        except ValueError as error:
            statistics.record("failed", error)
    (kept,) = statistics.failures
    assert (kept.count, kept.message) == (1000, "text 0")
    assert kept.first_at <= kept.last_at


def test_an_exception_that_cannot_be_described_is_counted() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise SystemExit

    statistics = ServiceStatistics()
    statistics.record("failed", Odd())
    assert len(statistics.failures) == 1


def test_the_histogram_of_a_worker_is_the_one_that_clients_read() -> None:
    class Ended:
        received_at = 0.0
        stop_reason = None

    statistics = ServiceStatistics()
    statistics.ended_call(Ended(), None, True)  # type: ignore[arg-type]
    (bucket,) = statistics.latency().buckets
    assert abs(bucket - bucket_of(statistics.seconds)) <= 1

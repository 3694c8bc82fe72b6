"""Services that are changed and removed while calls are under way: nothing is lost, and every limit holds."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import ConfigurationError, NoRouteError
from rabibridge_core.transport import QueueDeleter
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, Worker, request_to, service, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.client import Client
    from rabibridge_core._server.server import Server
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Transport
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["ChangeConformance"]


class Gate:
    """A handler whose calls wait until they are let through, and how many of them ran at a time."""

    def __init__(self) -> None:
        """Let no call through yet."""
        self.running = self.most = self.begun = 0
        self._places = asyncio.Semaphore(0)

    async def __call__(self, number: int) -> int:
        """Wait for a place, and return ``number``."""
        self.running += 1
        self.begun += 1
        self.most = max(self.most, self.running)
        try:
            await self._places.acquire()
        finally:
            self.running -= 1
        return number

    def let(self, count: int) -> None:
        """Let ``count`` calls through."""
        for _ in range(count):
            self._places.release()


def _limited(**limits: Any) -> Callable[[ServiceSchema], ServiceSchema]:
    return lambda schema: schema.with_limits(**limits)


def _calls(client: Client, name: str, count: int) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(client.call(name, (number,), {}, CallOptions("async", PATIENCE))) for number in range(count)
    ]


class ChangeConformance(ConformanceBase):
    """Tests of ``update_service``, ``remove_service`` and ``current_call``."""

    async def _gated(self, bench: Bench, fetch_size: int, **limits: Any) -> tuple[str, Gate, Server, Client]:
        gate, name = Gate(), bench.name("gated")

        async def gated(number: int) -> int:
            return await gate(number)

        server = await bench.server(service(gated, name, fetch_size=fetch_size, **limits))
        return name, gate, server, await bench.client()

    async def test_a_lower_fetch_size_counts_the_calls_that_are_in_flight(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 6)
        calls = _calls(client, name, 20)
        await until(lambda: gate.running == 6)
        schema = await soon(server.update(name, _limited(fetch_size=2)))
        assert schema.fetch_size == 2
        gate.let(4)
        await until(lambda: gate.running == 2)
        await asyncio.sleep(0.1)  # what must not happen: further calls begin
        assert gate.begun == 6
        gate.most = 0
        for begun in range(6, 20):
            gate.let(1)
            await until(lambda begun=begun: gate.begun > begun)  # type: ignore[misc]
        gate.let(2)
        assert await soon(asyncio.gather(*calls)) == list(range(20))
        assert gate.most == 2
        assert client.stray_replies == 0

    async def test_a_higher_fetch_size_lets_waiting_calls_begin(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 2)
        calls = _calls(client, name, 20)
        await until(lambda: gate.running == 2)
        await soon(server.update(name, _limited(fetch_size=8)))
        await until(lambda: gate.running == 8)
        gate.let(20)
        assert await soon(asyncio.gather(*calls)) == list(range(20))
        assert gate.most == 8

    async def test_many_changes_in_a_row_lose_no_call_and_keep_the_limit(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 5)
        calls = _calls(client, name, 60)
        await until(lambda: gate.running == 5)
        for size in (3, 4, 2, 5, 3):
            await soon(server.update(name, _limited(fetch_size=size)))
            gate.let(5)
            await until(lambda size=size: gate.running <= size)  # type: ignore[misc]
            await until(lambda size=size: gate.running == size)  # type: ignore[misc]
        assert gate.most == 5
        gate.let(60)
        assert await soon(asyncio.gather(*calls)) == list(range(60))
        assert gate.most <= 5

    async def test_fetching_ahead_can_be_changed(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 2)
        calls = _calls(client, name, 10)
        await until(lambda: gate.running == 2)
        await soon(server.update(name, _limited(fetch_ahead=3)))
        await until(lambda: server.active_requests == 7)  # two in flight, and what the two of now fetch
        assert gate.running == 2
        gate.let(10)
        assert await soon(asyncio.gather(*calls)) == list(range(10))
        assert gate.most == 2

    async def test_at_most_once_calls_are_not_lost(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 3, delivery="at-most-once")
        calls = _calls(client, name, 12)
        await until(lambda: gate.running == 3)
        await soon(server.update(name, _limited(fetch_size=1)))
        gate.let(12)
        assert await soon(asyncio.gather(*calls)) == list(range(12))

    async def test_a_service_is_removed_with_its_queue_after_its_calls(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 2)
        _needs_deletion(server.transport)
        calls = _calls(client, name, 2)
        await until(lambda: gate.running == 2)
        removing = asyncio.create_task(server.remove(name, delete=True))
        await until(lambda: name not in server.registry)
        assert not removing.done()
        gate.let(2)
        assert await soon(removing) is False
        assert await soon(asyncio.gather(*calls)) == [0, 1]
        with pytest.raises(NoRouteError):
            await client.call(name, (1,), {}, CallOptions("async", PATIENCE))

    async def test_a_queue_with_waiting_calls_stays(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 1)
        _needs_deletion(server.transport)
        schema = server.registry.get(name)
        assert schema is not None
        calls = _calls(client, name, 3)
        await until(lambda: gate.running == 1)
        removing = asyncio.create_task(server.remove(name, delete=True))
        await until(lambda: name not in server.registry)
        gate.let(3)
        assert await soon(removing) is True
        server.add(schema)
        assert await soon(asyncio.gather(*calls)) == [0, 1, 2]

    async def test_a_queue_that_another_worker_serves_stays(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 1)
        _needs_deletion(server.transport)
        schema = server.registry.get(name)
        assert schema is not None
        other = await bench.server(schema)
        assert await soon(server.remove(name, delete=True)) is True
        gate.let(1)
        assert await soon(client.call(name, (7,), {}, CallOptions("async", PATIENCE))) == 7
        assert await soon(other.remove(name, delete=True)) is False

    async def test_without_deletion_the_queue_stays(self, bench: Bench) -> None:
        name, gate, server, client = await self._gated(bench, 1)
        schema = server.registry.get(name)
        assert schema is not None
        assert await soon(server.remove(name)) is True
        assert not server.registry
        (call,) = _calls(client, name, 1)
        gate.let(1)
        server.add(schema)
        assert await soon(call) == 0

    async def test_a_call_cannot_await_the_removal_of_its_own_queue(self, bench: Bench) -> None:
        servers: list[Server] = []
        name = bench.name("suicide")

        async def remove() -> str:
            with pytest.raises(ConfigurationError, match="which waits for the call"):
                await servers[0].remove(name, delete=True)
            return "still here"

        servers.append(await bench.server(service(remove, name)))
        client = await bench.client()
        assert await soon(client.call(name, (), {}, CallOptions("async", PATIENCE))) == "still here"

    @pytest.mark.parametrize("queue_type", ["classic", "quorum"])
    async def test_deleting_is_refused_while_a_queue_is_used(self, bench: Bench, queue_type: str) -> None:
        transport = await bench.transport()
        deleter = _needs_deletion(transport)
        queue = bench.queue(queue_type=queue_type, redelivery_limit=5)
        await soon(transport.declare(queue))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"1"))
        await _until_waiting(caller, queue.name, 1)
        assert await soon(deleter.delete_unused(queue)) is False
        worker = await bench.transport()
        events = Worker()
        consumer = await soon(worker.serve(queue, events))
        (await events.next()).discard()
        assert await soon(deleter.delete_unused(queue)) is False
        await soon(consumer.stop())
        await _until_waiting(caller, queue.name, 0, consumers=0)
        assert await soon(deleter.delete_unused(queue)) is True
        caller.send(request_to(queue, b"2"))
        refused = await soon(inbox.refusals.get())
        assert issubclass(refused.refusal, NoRouteError)

    async def test_a_handler_knows_its_call(self, bench: Bench) -> None:
        async def about() -> dict[str, Any]:
            call = current_call()
            return {
                "id": call.id, "service": call.service, "caller": call.caller, "attempt": call.attempt,
                "left": call.time_left, "deadline": call.deadline, "tenant": call.headers.get("tenant"),
            }  # fmt: skip

        name = bench.name("about")
        await bench.server(service(about, name))
        one, other = await bench.client(), await bench.client()
        options = CallOptions("async", PATIENCE, headers={"tenant": "7"})
        first, second = [await soon(one.call(name, (), {}, options)) for _ in range(2)]
        third = await soon(other.call(name, (), {}, CallOptions("async", None)))
        assert first["service"] == name
        assert first["attempt"] == 1
        assert first["tenant"] == "7"
        assert first["id"] != second["id"]
        assert first["caller"] == second["caller"] != third["caller"]
        assert 0 < first["left"] <= PATIENCE
        assert abs(first["deadline"] - time.time() - PATIENCE) < PATIENCE
        assert third["left"] is third["deadline"] is third["tenant"] is None


def _needs_deletion(transport: Transport) -> QueueDeleter:
    if not isinstance(transport, QueueDeleter):
        pytest.skip("the transport cannot delete queues")
    return transport


async def _until_waiting(caller: Any, queue: str, waiting: int, consumers: int | None = None) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await caller.look(queue)
            if found is None or (found[1] == waiting and consumers in (None, found[0])):
                return
            await asyncio.sleep(0.02)

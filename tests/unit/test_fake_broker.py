from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.client import Client
from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core._server.server import Server
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    SerializationError,
)
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState, ServiceQueue
from rabibridge_testing import Fault, MemoryBroker, MemoryTransport, Passage, forget_broker, memory, memory_broker
from rabibridge_testing.conformance import Inbox, Worker
from tests.unit.fake_support import QUEUE, connected, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def echo(value: Any) -> Any:
    return value


class Pair:
    """A client, and a server that serves ``echo``, on one broker."""

    def __init__(self, broker: MemoryBroker) -> None:
        codec, hooks = Codec(), CallHooks()
        self.broker = broker
        self.ran: list[Any] = []
        self.client = Client(broker.transport("client"), codec, hooks=hooks, name="client")
        self.server = Server(broker.transport("server"), codec, hooks=hooks, drain_timeout=1.0, name="server")

        async def echo(value: Any) -> Any:
            self.ran.append(value)
            return value

        self.server.add(ServiceSchema.of(echo, ServiceLimits()))

    async def __aenter__(self) -> Pair:
        await self.server.connect()
        await self.server.start()
        await self.client.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.close()

    async def echo(self, value: Any, timeout: float | None = 30.0) -> Any:
        return await self.client.call("echo", (value,), {}, CallOptions("async", timeout))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Pair(MemoryBroker()) as pair:
        yield pair


async def test_two_brokers_know_nothing_of_each_other() -> None:
    async with Pair(MemoryBroker("one")), Pair(MemoryBroker("two")) as two:
        other = MemoryBroker("three").transport()
        await other.connect()
        inbox = Inbox()
        (await other.open_caller(inbox)).send(request())
        assert (await inbox.refusals.get()).refusal is NoRouteError
        assert await two.echo(1) == 1
        await other.close()


def test_loops_one_after_another() -> None:
    broker = MemoryBroker()

    async def main(value: int) -> Any:
        async with Pair(broker) as pair:
            return await pair.echo(value)

    assert [asyncio.run(main(number)) for number in range(3)] == [0, 1, 2]


def test_a_loop_that_ended_without_closing_leaves_its_requests() -> None:
    broker = MemoryBroker()

    async def left_behind() -> None:
        worker = Worker()
        for _ in range(2):
            await (await connected(broker)).serve(QUEUE, worker)
        caller = await (await connected(broker)).open_caller(Inbox())
        caller.send(request(b"unfinished"))
        await worker.requests.get()

    async def found() -> bytes:
        worker = Worker()
        transport = await connected(broker)
        await transport.serve(QUEUE, worker)
        got = await worker.requests.get()
        assert got.redelivered
        got.discard()
        await transport.close()
        return got.correlation_id

    asyncio.run(left_behind())
    assert asyncio.run(found()) == b"unfinished"


async def test_a_deleted_queue_is_declared_anew_by_its_workers(pair: Pair) -> None:
    pair.broker.delete_queue("rpc_async_echo")
    with pytest.raises(NoRouteError):
        await pair.echo(1)
    assert await pair.echo(2) == 2


async def test_a_queue_that_was_replaced_stays_down_for_workers_with_the_old_limits(pair: Pair) -> None:
    pair.broker.delete_queue("rpc_async_echo")
    pair.broker.declare(ServiceQueue("rpc_async_echo", ("async_echo",), 5, 1))
    await asyncio.sleep(0)
    service = pair.server.services["echo"]
    assert not service.live
    assert isinstance(getattr(service.consumer, "error", None), ConfigurationError)


async def test_a_worker_whose_limits_were_refused_serves_when_the_other_queue_is_gone(pair: Pair) -> None:
    pair.broker.delete_queue("rpc_async_echo")
    pair.broker.declare(ServiceQueue("rpc_async_echo", ("async_echo",), 5, 1))
    await asyncio.sleep(0)
    assert not pair.server.services["echo"].live
    pair.broker.delete_queue("rpc_async_echo")
    await asyncio.sleep(0)
    assert await pair.echo(1) == 1
    assert getattr(pair.server.services["echo"].consumer, "error", None) is None


async def test_a_lost_connection_comes_back(pair: Pair) -> None:
    pair.broker.lose_connection()
    assert pair.client.transport.state is ConnectionState.LOST
    assert isinstance(pair.client.transport.last_error, ConnectionLostError)
    assert await pair.echo(1) == 1
    assert pair.client.transport.last_error is None


async def test_a_connection_stays_lost_until_it_is_restored(pair: Pair) -> None:
    pair.broker.lose_connection(restore=False)
    with pytest.raises(CallTimeoutError):
        await pair.echo(1, timeout=0.05)
    waiting = asyncio.create_task(pair.echo(2))
    pair.broker.restore()
    assert await waiting == 2
    assert pair.ran == [2]


async def test_new_connections_are_refused(pair: Pair) -> None:
    pair.broker.refuse_connections()
    late = pair.broker.transport()
    with pytest.raises(ConnectionLostError, match="refuses connections"):
        await late.connect()
    assert await pair.echo(1) == 1
    pair.broker.restore()
    await late.connect()
    await late.close()


@pytest.mark.parametrize("kind", ["request", "reply"])
async def test_delay(pair: Pair, kind: Any) -> None:
    loop = asyncio.get_running_loop()
    with pair.broker.delay(0.1, "echo", kind=kind) as fault:
        started = loop.time()
        assert await pair.echo(1) == 1
        assert loop.time() - started >= 0.1
        while fault.struck < 2:  # else it was not delivered in time
            with pytest.raises(CallTimeoutError):
                await pair.echo(2, timeout=0.02)
    assert await pair.echo(3) == 3
    if kind == "request":
        assert pair.ran == [1, 3]


async def test_requests_that_come_twice_run_twice(pair: Pair) -> None:
    pair.broker.duplicate("echo", times=1)
    assert await pair.echo(1) == 1
    assert await pair.echo(2) == 2
    assert pair.ran == [1, 1, 2]
    assert pair.client.stray_replies == 1


async def test_replies_that_come_twice_are_counted(pair: Pair) -> None:
    pair.broker.duplicate(kind="reply", times=1)
    assert await pair.echo(1) == 1
    assert await pair.echo(2) == 2
    assert pair.ran == [1, 2]
    assert pair.client.stray_replies == 1


@pytest.mark.parametrize("error", [QueueFullError, NoRouteError])
async def test_refuse(pair: Pair, error: Any) -> None:
    pair.broker.refuse("echo", error, times=1)
    with pytest.raises(error):
        await pair.echo(1)
    assert await pair.echo(2) == 2
    assert pair.ran == [2]


async def test_a_broker_does_not_refuse_with_just_any_error(pair: Pair) -> None:
    with pytest.raises(TypeError, match="QueueFullError or NoRouteError"):
        pair.broker.refuse(error=CallTimeoutError)  # type: ignore[arg-type]


async def test_lost_replies(pair: Pair) -> None:
    fault = pair.broker.drop_replies(times=1)
    while not fault.struck:  # else it was not delivered in time
        with pytest.raises(CallTimeoutError):
            await pair.echo(1, timeout=0.05)
    assert await pair.echo(2) == 2
    assert pair.ran == [1, 2]


async def test_corrupt_replies(pair: Pair) -> None:
    pair.broker.corrupt_replies("echo", times=1)
    with pytest.raises(SerializationError):
        await pair.echo(1)
    assert await pair.echo(2) == 2


async def test_faults_add_up_and_are_cleared(pair: Pair) -> None:
    pair.broker.duplicate("echo")
    pair.broker.duplicate("echo")
    pair.broker.refuse("another")
    assert await pair.echo(1) == 1
    pair.broker.clear_faults()
    assert await pair.echo(2) == 2
    assert pair.ran == [1, 1, 1, 1, 2]


async def test_a_fault_of_ones_own(pair: Pair) -> None:
    class EverySecond(Fault):
        def strike(self, passage: Passage) -> None:
            if self.struck % 2 == 0:
                passage.refusal = QueueFullError

    pair.broker.faults.append(EverySecond(kind="request"))
    assert await pair.echo(1) == 1
    with pytest.raises(QueueFullError):
        await pair.echo(2)
    assert await pair.echo(3) == 3


async def test_stopping_services_leaves_nothing_behind(pair: Pair) -> None:
    transport = pair.server.transport
    assert isinstance(transport, MemoryTransport)
    for number in range(50):
        consumer = await transport.serve(ServiceQueue(f"q{number}", (f"k{number}",), None, 1), Worker())
        await consumer.stop()
        pair.broker.delete_queue(f"q{number}")
    assert repr(transport) == "<MemoryTransport 'server' ready>"
    assert transport.consumers == 1
    assert list(pair.broker.queues) == ["rpc_async_echo"]


async def test_memory_urls_with_one_name_meet() -> None:
    manager, worker = PluginManager(), Worker()
    manager.register(memory)
    settings = load_settings(url="memory://Meeting-Point")
    one, two = (manager.transport("memory", settings, name) for name in ("one", "two"))
    await one.connect()
    await two.connect()
    await one.serve(QUEUE, worker)
    (await two.open_caller(Inbox())).send(request(b"met"))
    got = await worker.requests.get()
    assert got.correlation_id == b"met"
    got.discard()
    known = memory_broker("meeting-point")
    assert list(known.queues) == [QUEUE.name]
    assert known.traces == []
    await one.close()
    await two.close()
    forget_broker("meeting-point")
    assert memory_broker("meeting-point") is not known
    forget_broker("meeting-point")

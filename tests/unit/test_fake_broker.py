from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.client import Client
from rabibridge_core.codec import Codec
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    SerializationError,
)
from rabibridge_core.plugins import CallHooks, PluginManager
from rabibridge_core.registry import Registration, ServiceSchema
from rabibridge_core.server import Server
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState, Reply, Request, ServiceQueue
from rabibridge_testing import Fault, MemoryBroker, MemoryTransport, Passage, forget_broker, memory, memory_broker
from rabibridge_testing.conformance import Inbox, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUEUE = ServiceQueue("rpc_async_work", ("async_work", "work"), queue_size=None, fetch_size=8)


def request(correlation_id: bytes = b"1", timeout: float | None = None) -> Request:
    return Request("async_work", correlation_id, b"body", "text/plain", None, timeout)


async def echo(value: Any) -> Any:
    return value


class Pair:
    """A client, and a server that serves ``echo``, on one broker."""

    def __init__(self, broker: MemoryBroker) -> None:
        codec, hooks = Codec(), CallHooks()
        self.broker = broker
        self.ran: list[Any] = []
        self.client = Client(broker.transport("client"), codec, hooks=hooks, cid_max=2**30, name="client")
        self.server = Server(broker.transport("server"), codec, hooks=hooks, drain_timeout=1.0, name="server")

        async def echo(value: Any) -> Any:
            self.ran.append(value)
            return value

        self.server.add(ServiceSchema.of(echo, Registration()))

    async def __aenter__(self) -> Pair:
        await self.server.connect()
        await self.server.start()
        await self.client.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.close()

    async def echo(self, value: Any, timeout: float | None = 30.0) -> Any:
        return await self.client.call("echo", (value,), {}, "async", timeout)


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


async def connected(broker: MemoryBroker) -> MemoryTransport:
    transport = broker.transport()
    await transport.connect()
    return transport


async def test_two_loops_at_once_are_refused(pair: Pair) -> None:
    def elsewhere() -> None:
        asyncio.run(pair.broker.transport().connect())

    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(elsewhere)
    assert await pair.echo(1) == 1


async def test_settling_twice_is_an_error() -> None:
    broker = MemoryBroker()
    transport, worker = await connected(broker), Worker()
    await transport.serve(QUEUE, worker)
    (await transport.open_caller(Inbox())).send(request())
    got = await worker.requests.get()
    got.reply(Reply(b"", None, None))
    with pytest.raises(RuntimeError, match="settled before"):
        got.discard()
    await transport.close()


async def test_what_expired_is_gone_without_anybody_asking_for_it() -> None:
    broker = MemoryBroker()
    transport = await connected(broker)
    await transport.declare(QUEUE)
    caller = await transport.open_caller(Inbox())
    caller.send(request(timeout=0.01))
    queue = broker.queues[QUEUE.name]
    assert len(queue) == 1
    await asyncio.sleep(0.05)  # the time itself is what is tested
    assert len(queue) == 0
    await transport.close()


async def test_expired_requests_behind_a_live_one_take_their_place() -> None:
    broker, inbox = MemoryBroker(), Inbox()
    transport = await connected(broker)
    await transport.declare(ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=2, fetch_size=1))
    caller = await transport.open_caller(inbox)
    caller.send(request(b"live", timeout=600.0))
    caller.send(request(b"expired", timeout=0.01))
    await asyncio.sleep(0.05)  # the time itself is what is tested
    caller.send(request(b"refused"))
    assert (await inbox.refusals.get()).correlation_id == b"refused"
    await transport.close()


@pytest.mark.parametrize("how", ["close", "break", "reject"])
async def test_what_comes_back_goes_before_what_waits(how: str) -> None:
    broker, leaving, staying = MemoryBroker(), Worker(), Worker()
    transport, other = await connected(broker), await connected(broker)
    queue = ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=2, fetch_size=2)
    consumer = await transport.serve(queue, leaving)
    caller = await other.open_caller(Inbox())
    for number in range(4):
        caller.send(request(b"%d" % number))
    in_hand = [await leaving.requests.get() for _ in range(2)]
    if how == "close":
        await transport.close()
    elif how == "break":
        transport.abort(restore=False)
    else:
        await consumer.stop()
        for one in reversed(in_hand):
            one.reject(requeue=True)
    assert len(broker.queues[queue.name]) == 4
    await other.serve(ServiceQueue(queue.name, queue.routing_keys, queue_size=2, fetch_size=9), staying)
    got = [await staying.requests.get() for _ in range(4)]
    assert [one.correlation_id for one in got] == [b"0", b"1", b"2", b"3"]
    assert [one.redelivered for one in got] == [True, True, False, False]
    await transport.close()
    await other.close()


async def test_what_is_on_its_way_to_a_consumer_that_stops_never_arrives() -> None:
    broker, worker, other = MemoryBroker(), Worker(), Worker()
    transport = await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    (await transport.open_caller(Inbox())).send(request())
    await consumer.stop()
    await transport.serve(QUEUE, other)
    assert not (await other.requests.get()).redelivered
    assert worker.requests.empty()
    await transport.close()


async def test_a_kindless_key_leads_to_both_kinds() -> None:
    broker = MemoryBroker()
    transport, workers = await connected(broker), (Worker(), Worker())
    for kind, worker in zip(("async", "sync"), workers, strict=True):
        await transport.serve(ServiceQueue(f"rpc_{kind}_work", (f"{kind}_work", "work"), None, 1), worker)
    caller = await transport.open_caller(Inbox())
    caller.send(request()._replace(routing_key="work"))
    for worker in workers:
        (await worker.requests.get()).discard()
    await transport.close()


async def test_a_deleted_queue_is_declared_anew_by_its_workers(pair: Pair) -> None:
    pair.broker.delete_queue("rpc_async_echo")
    with pytest.raises(NoRouteError):
        await pair.echo(1)
    assert await pair.echo(2) == 2


async def test_a_queue_that_was_replaced_stays_down_for_workers_with_the_old_limits(pair: Pair) -> None:
    pair.broker.declare(ServiceQueue("rpc_async_echo", ("async_echo",), 5, 1, redeclare=True))
    await asyncio.sleep(0)
    service = pair.server.services["echo"]
    assert not service.live
    assert isinstance(getattr(service.consumer, "error", None), ConfigurationError)


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
        with pytest.raises(CallTimeoutError):
            await pair.echo(2, timeout=0.02)
    assert fault.struck >= 2
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
    pair.broker.drop_replies(times=1)
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
    manager = PluginManager()
    manager.register(memory)
    settings = load_settings(url="memory://Meeting-Point")
    one, two = (manager.transport("memory", settings, name) for name in ("one", "two"))
    worker = Worker()
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

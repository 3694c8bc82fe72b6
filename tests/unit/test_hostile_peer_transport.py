"""The transport by itself, on a peer that is RabbitMQ at its worst: whatever happens, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge import ConfigurationError, ConnectionLostError, ContentRejectedError
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState, Reply, Request, ServiceQueue
from tests.support.scripted_broker import Peer, PeerConnection, methods_of
from tests.support.services import grown
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core.transport import FeedRefusal, IncomingBroadcast, IncomingRequest, Refusal


class _Events:
    """Remembers what a caller or a consumer tells."""

    def __init__(self) -> None:
        self.received_requests: list[IncomingRequest] = []
        self.told: list[Any] = []

    def received(self, request: IncomingRequest, /) -> None:
        self.received_requests.append(request)

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        self.told.append((correlation_id, reply.body))

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        self.told.append((correlation_id, refusal))

    def feed_refused(self, correlation_id: bytes, refusal: FeedRefusal, detail: str, /) -> None:
        self.told.append((correlation_id, refusal))

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str = "", /) -> None:
        self.told.append((correlation_id, message.body))

    def broadcast_received(self, request: IncomingBroadcast, /) -> None:
        self.received_requests.append(request)

    def confirmed(self, correlation_id: bytes, /) -> None:
        self.told.append(correlation_id)

    def not_permitted(self, routing_key: str, error: ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        self.told.append((routing_key, error))

    def too_large(self, limit: int, unconfirmed: Collection[bytes], /) -> None:
        self.told.append(limit)

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        self.told.append(error)

    def cancelled(self, caller: bytes, correlation_id: bytes, user: str = "", /) -> None: ...

    def caller_gone(self, caller: bytes, /) -> None: ...

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes] = (), /) -> None:
        self.told.append(error)


class _Broken(_Events):
    """Raises where it must not."""

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        raise RuntimeError("a fault in a plug-in")


@pytest.fixture
def queue() -> ServiceQueue:
    return ServiceQueue("q", ("q",), None, 2)


def _request(correlation_id: bytes, timeout: float | None = None) -> Request:
    return Request("q", correlation_id, b"body", "application/json", None, timeout)


def _transport(peer: Peer) -> RabbitMQTransport:
    return RabbitMQTransport(load_settings(url=peer.url), "test")


async def test_a_service_stopped_while_its_queue_is_being_consumed_is_stopped(queue: ServiceQueue) -> None:
    held: list[tuple[PeerConnection, int, Any]] = []

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Basic.Consume) and frame.queue == queue.name and len(peer.connections) == 2:
            held.append((connection, channel, frame))
            return ()
        return None

    async with Peer(script) as peer:
        transport = _transport(peer)
        await transport.connect()
        consumer = await transport.serve(queue, _Events())
        peer.connections[0].writer.transport.abort()
        await until(lambda: bool(held))
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0)
        connection, channel, consume = held[0]
        connection.send(channel, spec.Basic.ConsumeOk(consume.consumer_tag))
        await soon(stopping)
        assert not consumer.live
        await until(lambda: bool(methods_of(connection, spec.Basic.Cancel, spec.Channel.Close)))
        await soon(transport.close())


async def test_whoever_gives_up_stopping_leaves_the_channel_to_the_requests_in_flight(queue: ServiceQueue) -> None:
    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        return () if isinstance(frame, spec.Basic.Cancel) else None

    async with Peer(script) as peer:
        transport = _transport(peer)
        await transport.connect()
        events = _Events()
        consumer = await transport.serve(queue, events)
        connection = peer.connections[0]
        consuming = [heard for heard in connection.heard if isinstance(heard[1], spec.Basic.Consume)]
        (channel,) = [number for number, frame in consuming if frame.queue == "q"]
        connection.deliver(channel, 1, b"x", reply_to="amq.gen-caller")
        await until(lambda: bool(events.received_requests))
        stopping = asyncio.create_task(consumer.stop())
        await until(lambda: bool(methods_of(connection, spec.Basic.Cancel)))
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        events.received_requests[0].reply(Reply(b"y", None, None))
        await until(lambda: bool(methods_of(connection, spec.Basic.Ack)))
        methods = [type(frame) for number, frame in connection.heard if number == channel]
        after = methods[methods.index(spec.Basic.Cancel) + 1 :]
        assert (after[0], after[-1]) == (spec.Basic.Publish, spec.Basic.Ack)
        assert spec.Channel.Close not in after
        await soon(transport.close())


async def test_a_fault_in_the_events_costs_the_connection_not_the_transport(caplog: pytest.LogCaptureFixture) -> None:
    async with Peer() as peer:
        transport = _transport(peer)
        await transport.connect()
        events = _Broken()
        caller = await transport.open_caller(events)
        connection = peer.connections[0]
        channel = next(number for number, frame in connection.heard if isinstance(frame, spec.Basic.Consume))
        connection.deliver(channel, 1, b"x", correlation_id="1")
        await until(lambda: len(peer.connections) == 2 and not caller.paused)
        assert [type(told) for told in events.told] == [ConnectionLostError]
        assert "a fault in a plug-in" in caplog.text
        await soon(transport.close())


async def test_a_confirm_of_many_after_many_of_one() -> None:
    async with Peer() as peer:
        transport = _transport(peer)
        await transport.connect()
        events = _Events()
        caller = await transport.open_caller(events)
        connection = peer.connections[0]
        channel = next(number for number, frame in connection.heard if isinstance(frame, spec.Basic.Consume))
        for number in range(1, 1001):
            caller.send(_request(b"%d" % number))
        await until(lambda: len(methods_of(connection, spec.Basic.Publish)) == 1000)
        order = [2, 1, *range(3, 501)]
        connection.send(channel, *(spec.Basic.Ack(tag) for tag in order))
        connection.send(channel, spec.Basic.Nack(600, multiple=True), spec.Basic.Ack(700, multiple=True))
        connection.send(channel, spec.Basic.Nack(600, multiple=True), spec.Basic.Nack(702), spec.Basic.Ack(10**9))
        connection.send(channel, spec.Basic.Nack(2**60, multiple=True))
        await until(lambda: len(events.told) == 400)
        refused = [int(correlation_id) for correlation_id, _ in events.told]
        assert refused == [*range(501, 601), 702, 701, *range(703, 1001)]
        await soon(transport.close())


async def test_a_confirm_of_many_does_not_go_through_all_that_were_confirmed_before() -> None:
    """A client that calls one by one for days meets such a confirm at its first burst."""
    count = 300_000

    class _Lookups(dict[int, bytes]):
        number = 0

        def pop(self, key: Any, *default: Any) -> Any:
            self.number += 1
            return super().pop(key, *default)

    async with Peer() as peer:
        transport = _transport(peer)
        await transport.connect()
        caller = await transport.open_caller(_Events())
        channel = caller._channel
        assert channel is not None
        lookups = channel.unconfirmed = _Lookups()
        for tag in range(1, count + 1):
            channel._published = tag
            lookups[tag] = b"id"
            channel.confirmed(tag, multiple=False, accepted=True)
        lookups.number = 0
        caller.send(_request(b"last"))
        channel.confirmed(count + 1, multiple=True, accepted=True)
        assert lookups.number < 10
        await soon(transport.close())


async def test_lost_connections_leave_nothing_behind(queue: ServiceQueue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # a captured record holds the error, and that the frames it went through

    def held() -> Counter[str]:
        gc.collect()
        names = (
            "Session",
            "Multiplexer",
            "_PublishChannel",
            "ServiceChannel",
            "WorkerSession",
            "ConfirmedPublisher",
            "Connection",
            "Channel",
        )
        return Counter(name for thing in gc.get_objects() if (name := type(thing).__name__) in names)

    before = held()  # what other tests of this process have left; it can only become less
    async with Peer() as peer:
        transport = _transport(peer)
        await transport.connect()
        events = _Events()
        caller = await transport.open_caller(events)
        consumer = await transport.serve(queue, events)
        tasks = len(asyncio.all_tasks())
        for _ in range(7):
            accepted = len(peer.connections)
            peer.connections[-1].writer.transport.abort()
            await grown(peer.connections, accepted)
            await until(lambda: consumer.live and not caller.paused and transport.state is ConnectionState.READY)
        events.told.clear()  # an error holds the frames that it went through
        await until(
            lambda: held()["Session"] <= before["Session"] + 2
        )  # aiormq takes two seconds to leave a connection
        assert all(number <= before[name] + 5 for name, number in held().items())
        assert len(asyncio.all_tasks()) <= tasks
        await soon(transport.close())

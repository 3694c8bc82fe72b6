"""What a worker publishes to be kept, on a broker that takes its time: nothing is settled before it is confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply, ServiceQueue
from rabibridge_testing.conformance.harness import Worker
from tests.support.scripted_broker import Peer, PeerConnection
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.transport import IncomingRequest

QUEUE = ServiceQueue("service", ("service",), None, 16, redelivery_limit=5)


class Stage:
    """A worker on a peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.worker = Worker()
        self.transport: RabbitMQTransport
        self.channel = 0
        """That of the requests."""

    @property
    def connection(self) -> PeerConnection:
        return self.peer.connections[-1]

    def heard(self, method: type) -> list[tuple[int, Any]]:
        """Return what the worker sent, with its channel, but for the check whether it may publish."""
        return [
            (channel, frame)
            for channel, frame in self.connection.heard
            if isinstance(frame, method) and not getattr(frame, "routing_key", "").startswith("rpc.check.")
        ]

    async def hears(self, method: type, count: int = 1) -> tuple[int, Any]:
        """Wait for the worker to send such a frame; return the last one."""
        await until(lambda: len(self.heard(method)) >= count)
        return self.heard(method)[-1]

    async def serve(self) -> None:
        self.transport = RabbitMQTransport(load_settings(url=self.peer.url), "worker")
        await soon(self.transport.connect())
        await soon(self.transport.serve(QUEUE, self.worker))
        (self.channel,) = [channel for channel, asked in self.heard(spec.Basic.Consume) if asked.queue == "service"]

    async def request(self, tag: int = 1) -> IncomingRequest:
        self.connection.deliver(self.channel, tag, b"body", correlation_id=str(tag), reply_to="amq.gen-caller")
        return await self.worker.next()

    def again(self, tag: int, **properties: Any) -> None:
        """Give a request to the worker again."""
        redelivered = spec.Basic.Deliver("ctag", tag, True, "", "")
        self.connection.deliver(self.channel, tag, b"body", method=redelivered, **properties)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Peer() as peer:
        stage = Stage(peer)
        await stage.serve()
        yield stage
        await soon(stage.transport.close())


async def test_a_dead_letter_is_confirmed_before_its_request_is_answered_and_settled(stage: Stage) -> None:
    (await stage.request()).dead_letter("a reason", Reply(b"answer", None, None))
    channel, publish = await stage.hears(spec.Basic.Publish)
    assert (publish.routing_key, publish.mandatory) == ("rpc.dead", True)
    await stage.request(2)
    assert stage.heard(spec.Basic.Ack) == []
    stage.connection.send(channel, spec.Basic.Ack(1))
    assert (await stage.hears(spec.Basic.Ack))[1].delivery_tag == 1
    sent = [frame for number, frame in stage.connection.heard if number == stage.channel]
    order = [type(frame).__name__ for frame in sent if isinstance(frame, spec.Basic.Publish | spec.Basic.Ack)]
    assert order == ["Publish", "Ack"]


@pytest.mark.parametrize(
    "answer", [spec.Basic.Nack(1), spec.Channel.Close(403, "ACCESS_REFUSED", 60, 40)], ids=["nack", "close"]
)
async def test_a_dead_letter_that_is_refused_is_answered_and_dropped(stage: Stage, answer: Any) -> None:
    (await stage.request()).dead_letter("a reason", Reply(b"answer", None, None))
    channel, _ = await stage.hears(spec.Basic.Publish)
    stage.connection.send(channel, answer)
    rejected = (await stage.hears(spec.Basic.Reject))[1]
    assert (rejected.delivery_tag, rejected.requeue) == (1, False)
    assert stage.heard(spec.Basic.Publish)[-1] == (stage.channel, stage.heard(spec.Basic.Publish)[-1][1])
    assert stage.heard(spec.Basic.Ack) == []
    assert len(stage.peer.connections) == 1


async def test_a_dead_letter_whose_channel_is_closed_is_sent_again_once(stage: Stage) -> None:
    (await stage.request()).dead_letter("a reason")
    channel, _ = await stage.hears(spec.Basic.Publish)
    stage.connection.send(channel, spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 40))
    channel, _ = await stage.hears(spec.Basic.Publish, 2)
    stage.connection.send(channel, spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 40))
    assert (await stage.hears(spec.Basic.Reject))[1].delivery_tag == 1
    assert len(stage.heard(spec.Basic.Publish)) == 2


async def test_after_a_refusal_nothing_is_tried_for_a_while(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge._transport.confirmed_publisher._RETRY_AFTER", 10_000.0)
    (await stage.request()).dead_letter("a reason")
    channel, _ = await stage.hears(spec.Basic.Publish)
    stage.connection.send(channel, spec.Channel.Close(403, "ACCESS_REFUSED", 60, 40))
    await stage.hears(spec.Basic.Reject)
    for tag in range(2, 1000):
        (await stage.request(tag)).dead_letter("another reason")
    await stage.hears(spec.Basic.Reject, 999)
    assert len(stage.heard(spec.Basic.Publish)) == 1


async def test_a_confirm_of_many_settles_many(stage: Stage) -> None:
    for tag in range(1, 6):
        (await stage.request(tag)).dead_letter("a reason")
    channel, _ = await stage.hears(spec.Basic.Publish, 5)
    stage.connection.send(channel, spec.Basic.Ack(4), spec.Basic.Ack(2, multiple=True))
    await stage.hears(spec.Basic.Ack, 2)
    assert {(frame.delivery_tag, frame.multiple) for _, frame in stage.heard(spec.Basic.Ack)} == {(2, True), (4, False)}
    stage.connection.send(channel, spec.Basic.Nack(5, multiple=True))
    await stage.hears(spec.Basic.Reject, 2)
    assert {frame.delivery_tag for _, frame in stage.heard(spec.Basic.Reject)} == {3, 5}


async def test_a_connection_lost_before_the_confirm_leaves_the_request_to_the_next(stage: Stage) -> None:
    request = await stage.request()
    request.dead_letter("a reason")
    await stage.hears(spec.Basic.Publish)
    stage.connection.writer.transport.abort()
    await soon(stage.worker.losses.get())
    assert not request.void  # it is settled here, though not on the broker
    await until(lambda: len(stage.peer.connections) == 2 and len(stage.heard(spec.Basic.Consume)) == 2)
    assert stage.heard(spec.Basic.Publish) == []


async def test_a_broker_that_never_confirms_does_not_keep_a_transport_from_closing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabibridge._transport.confirmed_publisher._DRAIN_TIMEOUT", 0.2)
    (await stage.request()).dead_letter("a reason")
    await stage.hears(spec.Basic.Publish)
    await soon(stage.transport.close())
    assert stage.heard(spec.Basic.Ack) == []


async def test_a_copy_that_comes_back_is_held_until_its_original_is_gone(stage: Stage) -> None:
    held: list[Any] = []

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Basic.Qos) and channel == stage.channel:
            held.append(frame)
            return ()
        return None

    stage.peer.script = script
    stage.again(1, correlation_id="7", reply_to="amq.gen-caller")
    channel, publish = await stage.hears(spec.Basic.Publish)
    assert publish.routing_key == "service"
    copy = {"correlation_id": "7", "reply_to": "amq.gen-caller", "headers": {"rb-deliveries": 1}}
    stage.connection.deliver(stage.channel, 2, b"body", **copy)
    other = await stage.request(3)  # what comes after it is not held up
    assert other.correlation_id == b"3"
    assert stage.heard(spec.Basic.Ack) == []
    stage.connection.send(channel, spec.Basic.Ack(1))
    assert (await stage.hears(spec.Basic.Ack))[1].delivery_tag == 1
    await until(lambda: bool(held))
    await stage.request(4)
    stage.connection.send(stage.channel, spec.Basic.QosOk())
    request = await stage.worker.next()
    assert (request.correlation_id, request.deliveries, request.redelivered) == (b"7", 1, True)


async def test_a_copy_that_nobody_takes_hands_over_the_original(stage: Stage) -> None:
    stage.again(1, correlation_id="7", reply_to="amq.gen-caller", headers={"rb-deliveries": 2})
    channel, _ = await stage.hears(spec.Basic.Publish)
    returned = spec.Basic.Return(312, "NO_ROUTE", "", "service")
    stage.connection.deliver(channel, 0, b"body", method=returned)
    stage.connection.send(channel, spec.Basic.Ack(1))
    request = await stage.worker.next()
    assert (request.correlation_id, request.deliveries) == (b"7", 3)
    request.discard()
    assert (await stage.hears(spec.Basic.Ack))[1].delivery_tag == 1
    assert stage.worker.requests.empty()

"""Replies of a service on a quorum queue: a request is acknowledged once the broker has confirmed its reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import pytest
from pamqp import commands as spec

from rabibridge._amqp.frames import count_methods
from rabibridge._amqp.headers import BUNDLES_HEADER
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply, ServiceQueue
from rabibridge_testing.conformance.harness import Worker
from tests.support.fast_channels import content_frames, method_frame
from tests.support.scripted_broker import Peer, PeerConnection, methods_of
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from types import TracebackType

    from rabibridge_core.transport import Consumer, IncomingRequest

_CALLER = "amq.gen-caller"


def _reply(body: bytes) -> Reply:
    return Reply(body, "application/json", None)


def _confirm_trials(connection: PeerConnection, channel: int, frame: Any) -> Any:
    """Accept the message that finds out how large a bundle may be."""
    return (spec.Basic.Ack(1),) if getattr(frame, "routing_key", "") == "rpc.check.size" else None


class _Stage:
    """A worker on a peer that confirms what it is told to."""

    def __init__(self) -> None:
        self.peer = Peer(_confirm_trials)
        self.worker = Worker()
        self.queue = ServiceQueue("q", ("q",), None, 100, queue_type="quorum")
        self.transport: RabbitMQTransport
        self.consumer: Consumer

    async def __aenter__(self) -> Self:
        await self.peer.__aenter__()
        self.transport = RabbitMQTransport(load_settings(url=self.peer.url), "worker")
        await soon(self.transport.connect())
        self.consumer = await soon(self.transport.serve(self.queue, self.worker))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.confirm(1000, multiple=True)  # what the test left
            await soon(self.transport.close())
        finally:
            await self.peer.__aexit__(kind, error, traceback)

    @property
    def connection(self) -> PeerConnection:
        return self.peer.connections[-1]

    @property
    def channel(self) -> int:
        (channel,) = [
            channel
            for channel, frame in self.connection.heard
            if isinstance(frame, spec.Basic.Consume) and frame.queue == "q"
        ]
        return channel

    async def deliver(self, *tags: int, headers: dict[str, Any] | None = None) -> list[IncomingRequest]:
        for tag in tags:
            self.connection.deliver(
                self.channel, tag, b"x", reply_to=_CALLER, correlation_id=f"c{tag}", headers=headers or {"any": 1}
            )
        return [await self.worker.next() for _ in tags]

    def confirm(self, tag: int, *, multiple: bool = False) -> None:
        self.connection.send(self.channel, spec.Basic.Ack(tag, multiple))

    def replies(self) -> list[bytes]:
        """Return the bodies of the replies, or of their bundles."""
        return [frame.value for _, frame in self.connection.heard if b"of c" in getattr(frame, "value", b"")]

    def acked(self) -> set[int]:
        """Return the delivery tags that were acknowledged."""
        tags: set[int] = set()
        for channel, frame in self.connection.heard:
            if isinstance(frame, spec.Basic.Ack) and channel == self.channel:
                tags |= set(range(1, frame.delivery_tag + 1)) if frame.multiple else {frame.delivery_tag}
        return tags

    def published(self) -> int:
        """Return how many messages were published."""
        channel = self.channel
        return [type(frame) for number, frame in self.connection.heard if number == channel].count(spec.Basic.Publish)

    async def until_published(self, count: int) -> None:
        await until(lambda: self.published() == count)

    async def settled_by_now(self) -> set[int]:
        """Return what is acknowledged once the worker has read all that was sent to it."""
        marker = 1000 + len(self.connection.heard)
        (request,) = await self.deliver(marker)
        request.reject(requeue=True)
        await until(lambda: marker in {m.delivery_tag for m in methods_of(self.connection, spec.Basic.Reject)})
        return self.acked()


async def test_a_request_is_acknowledged_when_its_reply_is_confirmed() -> None:
    async with _Stage() as stage:
        assert methods_of(stage.connection, spec.Confirm.Select)
        requests = await stage.deliver(1, 2, 3, 4)
        for request in requests:
            request.reply(_reply(request.correlation_id))
            await asyncio.sleep(0)
        await stage.until_published(4)
        assert await stage.settled_by_now() == set()
        stage.confirm(2)  # confirms come in any order
        await until(lambda: stage.acked() == {2})
        stage.confirm(3, multiple=True)
        await until(lambda: stage.acked() == {1, 2, 3})
        stage.connection.send(stage.channel, spec.Basic.Nack(4))  # the queue of the caller is full
        await until(lambda: stage.acked() == {1, 2, 3, 4})


async def test_a_returned_reply_is_confirmed_too() -> None:
    async with _Stage() as stage:
        (request,) = await stage.deliver(1)
        request.reply(_reply(b"late"))
        await stage.until_published(1)
        returned = spec.Basic.Return(312, "NO_ROUTE", "", _CALLER)
        stage.connection.deliver(stage.channel, 0, b"late", returned, correlation_id="c1")
        assert await soon(stage.worker.gone.get()) == _CALLER.encode()
        assert await stage.settled_by_now() == set()
        stage.confirm(1)
        await until(lambda: stage.acked() == {1})


async def test_what_else_is_published_is_counted() -> None:
    async with _Stage() as stage:
        first, second = await stage.deliver(1, 2, headers={"rb-probe": True})
        first.probe()
        first.reply_part(_reply(b"part"))
        first.reply(_reply(b"first"))
        second.accept()
        second.reply(_reply(b"second"))
        await stage.until_published(4)
        stage.confirm(2, multiple=True)
        assert await stage.settled_by_now() == {2}  # when it was accepted
        stage.confirm(3)
        await until(lambda: stage.acked() == {1, 2})


async def test_the_replies_of_a_bundle_are_confirmed_together() -> None:
    async with _Stage() as stage:
        requests = await stage.deliver(*range(1, 301), headers={BUNDLES_HEADER: True})
        for request in requests:
            request.reply(_reply(b"r"))
        await until(lambda: bool(stage.published()))
        assert await stage.settled_by_now() == set()
        messages = stage.published()
        assert messages < 300
        stage.confirm(messages, multiple=True)
        await until(lambda: stage.acked() >= set(range(1, 301)))


async def test_requests_without_a_reply_are_settled_at_once() -> None:
    async with _Stage() as stage:
        first, second, third = await stage.deliver(1, 2, 3)
        first.discard()
        second.reject(requeue=True)
        await until(lambda: stage.acked() == {1} and bool(methods_of(stage.connection, spec.Basic.Reject)))
        third.reply(_reply(b"third"))
        await stage.until_published(1)
        stage.confirm(1)
        await until(lambda: 3 in stage.acked())


@pytest.mark.parametrize("bundled", [False, True])
async def test_replies_to_accepted_requests_that_are_lost_leave_again(bundled: bool) -> None:
    async with _Stage() as stage:
        headers = {BUNDLES_HEADER: True} if bundled else None
        first, second, third = await stage.deliver(1, 2, 3, headers=headers)
        first.accept()
        second.accept()
        for request in (first, second, third):
            request.reply(_reply(b"of " + request.correlation_id))
            if not bundled:
                await stage.until_published(1 + (first, second, third).index(request))
        await stage.until_published(1 if bundled else 3)
        if not bundled:
            stage.confirm(1)
        assert await stage.settled_by_now() == {1, 2}
        stage.connection.writer.transport.abort()
        await until(lambda: len(stage.peer.connections) == 2 and bool(stage.replies()))
        (again,) = stage.replies()  # of the third, the broker still has the request
        assert (b"of c1" in again, b"of c2" in again, b"of c3" in again) == (bundled, True, False)


async def test_closing_waits_for_confirms() -> None:
    async with _Stage() as stage:
        (request,) = await stage.deliver(1)
        request.reply(_reply(b"last"))
        await stage.until_published(1)
        await soon(stage.consumer.stop())
        closing = asyncio.create_task(stage.transport.close())
        await asyncio.sleep(0)
        stage.confirm(1)
        await soon(closing)
        assert stage.acked() == {1}
        heard = [type(frame) for channel, frame in stage.connection.heard if channel == stage.channel]
        assert heard.index(spec.Basic.Ack) < heard.index(spec.Channel.Close)


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge._transport.consumer._CANCEL_TIMEOUT", 0.05)
    async with _Stage() as stage:
        (request,) = await stage.deliver(1)
        request.reply(_reply(b"last"))
        await stage.until_published(1)
        await soon(stage.consumer.stop())
        await soon(stage.transport.close())
        assert stage.acked() == set()  # the broker has the request, and will redeliver it


async def test_a_broker_that_does_not_confirm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rabibridge._transport.confirmed_replies._PATIENCE", 0.05)
    async with _Stage() as stage:
        (request,) = await stage.deliver(1)
        request.reply(_reply(b"x"))
        await until(lambda: stage.acked() == {1})
        assert "has not confirmed 1 replies" in caplog.text


async def test_a_blocked_connection_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge._transport.confirmed_replies._PATIENCE", 0.01)
    async with _Stage() as stage:
        (request,) = await stage.deliver(1)
        stage.connection.send(0, spec.Connection.Blocked("low on memory"))
        await until(lambda: stage.transport._connection.session.multiplexer.blocked is not None)  # type: ignore[union-attr]
        request.reply(_reply(b"x"))
        for _ in range(5):
            assert await stage.settled_by_now() == set()
            await asyncio.sleep(0.02)  # longer than the patience
        stage.connection.send(0, spec.Connection.Unblocked())
        await until(lambda: stage.acked() == {1})


def test_counting_messages() -> None:
    message = method_frame(3, spec.Basic.Publish(routing_key="q")) + content_frames(3, b"x" * 250)
    assert [count_methods(message * number) for number in range(3)] == [0, 1, 2]

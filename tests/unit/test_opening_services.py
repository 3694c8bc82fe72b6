"""The services of one worker are opened side by side: trouble with one of them does not hold up the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState, ServiceQueue
from rabibridge_testing.conformance.harness import Worker
from tests.support.scripted_broker import STUCK, Peer, PeerConnection, methods_of
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import Consumer


def _queue(name: str, **limits: Any) -> ServiceQueue:
    return ServiceQueue(
        f"rpc_async_{name}", (f"async_{name}", f"any:{name}"), None, 1,
        any_keys=(f"any:{name}",), other_queue=f"rpc_sync_{name}", **limits,
    )  # fmt: skip


def _answering(method: type[Any], queue: str, answer: Callable[[], Any]) -> Callable[[PeerConnection, int, Any], Any]:
    """Return the script of a peer that answers this method for this queue otherwise than usual."""

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        return answer() if isinstance(frame, method) and frame.queue == queue else None

    return script


async def _connected(peer: Peer) -> RabbitMQTransport:
    transport = RabbitMQTransport(load_settings(url=peer.url), "worker")
    await soon(transport.connect())
    return transport


async def test_one_for_which_the_broker_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rabibridge._transport.consumer_supervisor._SLOW_AFTER", 0.1)
    async with Peer(_answering(spec.Queue.Declare, "rpc_async_stuck", lambda: STUCK)) as peer:
        transport = await _connected(peer)
        await soon(transport.declare(_queue("stuck")))
        consumers: dict[str, Consumer] = {}
        for name in ("stuck", "one", "two"):
            consumers[name] = await soon(transport.serve(_queue(name), Worker()))
        await until(lambda: [consumers[name].live for name in ("stuck", "one", "two")] == [False, True, True])
        assert "has not answered" in str(consumers["stuck"].error)
        assert any("does not answer for 'rpc_async_stuck'" in record.getMessage() for record in caplog.records)
        transport.abort()  # the same on the next connection
        await until(lambda: transport.state is ConnectionState.READY and len(peer.connections) == 2)
        await until(lambda: [consumers[name].live for name in ("stuck", "one", "two")] == [False, True, True])
        peer.script = lambda *_: None
        transport.abort()
        await until(lambda: consumers["stuck"].live)
        assert consumers["stuck"].error is None
        await soon(transport.close())


async def test_one_that_does_not_exist_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    missing = spec.Channel.Close(404, "NOT_FOUND - home node of the queue is down", 60, 20)
    async with Peer(_answering(spec.Basic.Consume, "rpc_async_gone", lambda: (missing,))) as peer:
        transport = await _connected(peer)
        other = await soon(transport.serve(_queue("other"), Worker()))
        with pytest.raises(ConfigurationError, match=r"does not exist"):
            await soon(transport.serve(_queue("gone"), Worker()))
        peer.script = lambda *_: None
        consumer = await soon(transport.serve(_queue("gone"), Worker()))
        assert (consumer.live, other.live) == (True, True)
        peer.script = _answering(spec.Basic.Consume, "rpc_async_gone", lambda: (missing,))
        transport.abort()
        await until(lambda: other.live and consumer.error is not None and transport.state is ConnectionState.READY)
        assert not consumer.live
        peer.script = lambda *_: None
        await until(lambda: consumer.live)
        assert consumer.error is None
        assert len(peer.connections) == 2
        await soon(transport.close())


async def test_more_services_than_channels() -> None:
    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        return (spec.Connection.Tune(26, 131072, 60),) if isinstance(frame, spec.Connection.StartOk) else None

    async with Peer(script) as peer:
        transport = await _connected(peer)
        for name in ("one", "two"):
            assert (await soon(transport.serve(_queue(name), Worker()))).live
        with pytest.raises(ConfigurationError, match=r"3 services need 27 channels, and .* allows 26 .*channel_max"):
            await soon(transport.serve(_queue("three"), Worker()))
        assert transport.state is ConnectionState.READY
        assert len(peer.connections) == 1
        assert all(channel <= 26 for channel, _ in peer.connections[0].heard)
        await soon(transport.close())


async def test_a_broker_that_cannot_delete_on_condition_is_asked_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """A quorum queue cannot be deleted "if unused": RabbitMQ closes the connection for that."""
    refusal = spec.Connection.Close(540, "NOT_IMPLEMENTED - cannot delete: if-unused", 50, 40)

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Queue.Delete) and frame.if_unused:
            connection.send(0, refusal)
            return ()
        return None

    async with Peer(script) as peer:
        transport = await _connected(peer)
        consumer = await soon(transport.serve(_queue("service"), Worker()))
        await until(lambda: consumer.live)
        assert len(peer.connections) == 2
        deleted = methods_of(peer.connections[1], spec.Queue.Delete)
        assert [(one.queue, one.if_unused) for one in deleted] == [("rpc_sync_service", False)]
        await soon(transport.close())


async def test_a_left_over_queue_with_calls_is_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "rabibridge")

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Queue.Delete):
            return (spec.Channel.Close(406, "PRECONDITION_FAILED - queue not empty", 50, 40),)
        if isinstance(frame, spec.Queue.Declare) and frame.passive:
            return (spec.Queue.DeclareOk(frame.queue, 3, 0),)
        return None

    async with Peer(script) as peer:
        transport = await _connected(peer)
        consumer = await soon(transport.serve(_queue("service"), Worker()))
        await until(lambda: consumer.live)
        (text,) = [record.getMessage() for record in caplog.records if "rpc_sync_service" in record.getMessage()]
        assert "3 calls wait in the queue 'rpc_sync_service', which no worker serves" in text
        await soon(transport.close())

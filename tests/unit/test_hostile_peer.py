"""A peer that is no RabbitMQ, or one at its worst: connecting, calling and closing end."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge import ConfigurationError, ConnectionLostError, RMQClient
from rabibridge_core.transport import ConnectionState
from tests.support.scripted_broker import Peer, PeerConnection, methods_of
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable


def _raw(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def _on(method: type, *answers: Any) -> Callable[[PeerConnection, int, Any], Any]:
    return lambda connection, channel, frame: answers if isinstance(frame, method) else None


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(_on(spec.Connection.StartOk, b"\xff" * 100), id="garbage after start-ok"),
        pytest.param(_on(spec.Connection.StartOk, _raw(1, 0, b"\x00\x0a\x00\x1e")), id="tune without arguments"),
        pytest.param(_on(spec.Connection.StartOk, _raw(1, 0, b"")), id="a method without a number"),
        pytest.param(_on(spec.Connection.StartOk, _raw(2, 0, b"")), id="a content header"),
        pytest.param(_on(spec.Connection.StartOk, spec.Connection.Tune(0, 1, 0)), id="frames of one byte"),
        pytest.param(_on(spec.Connection.StartOk, spec.Connection.OpenOk()), id="an answer to something else"),
        pytest.param(_on(spec.Connection.StartOk), id="silence after start-ok"),
        pytest.param(_on(spec.Connection.Open), id="silence after open"),
        pytest.param(_on(spec.Channel.Open, spec.Channel.Close(504, "no", 0, 0)), id="no channel"),
        pytest.param(_on(spec.Queue.Declare, spec.Channel.CloseOk()), id="close-ok instead of declare-ok"),
        pytest.param(_on(spec.Queue.Declare, spec.Basic.QosOk()), id="qos-ok instead of declare-ok"),
    ],
)
async def test_connecting_to_what_is_no_broker_fails_in_time(
    script: Callable[[PeerConnection, int, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "1")
    async with Peer(script) as peer:
        client = RMQClient(url=peer.url)
        with pytest.raises((ConnectionLostError, ConfigurationError)):
            await soon(client.connect())
        await soon(client.close())


async def test_a_connection_that_goes_right_after_the_login() -> None:
    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Connection.Open) and 2 <= len(peer.connections) < 6:
            connection.send(0, spec.Connection.OpenOk())
            connection.writer.close()
            return ()
        return None

    async with Peer(script) as peer, RMQClient(url=peer.url) as client:
        peer.connections[0].writer.transport.abort()
        await until(lambda: len(peer.connections) >= 6 and client.state is ConnectionState.READY)


@pytest.mark.parametrize(
    "silent", [spec.Connection.StartOk, spec.Connection.Open, spec.Exchange.Declare, spec.Basic.Consume]
)
async def test_closing_a_client_that_is_connecting_ends_the_connecting(silent: type) -> None:
    async with Peer(_on(silent)) as peer:
        client = RMQClient(url=peer.url)
        connecting = asyncio.create_task(client.connect())
        await until(lambda: any(methods_of(connection, silent) for connection in peer.connections))
        await soon(client.close())
        with pytest.raises(ConnectionLostError):
            await soon(connecting)


async def test_a_broker_that_refuses_us_later_ends_waiting_calls() -> None:
    """The next log-in is refused for good: whoever waits for the connection is told, and so is whoever calls after."""
    refused = spec.Connection.Close(530, "NOT_ALLOWED - vhost not found", 10, 40)

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Connection.Open) and len(peer.connections) > 1:
            return (refused,)
        return None

    async with Peer(script) as peer, RMQClient(url=peer.url) as client:
        peer.connections[0].writer.transport.abort()
        await until(lambda: client.state is ConnectionState.LOST or client.state is ConnectionState.CLOSED)
        for _ in range(2):
            with pytest.raises(ConnectionLostError) as failure:
                await soon(client.remote_call("anything"))
            assert failure.value.executed is False
            assert "vhost not found" in str(failure.value)


async def test_a_connection_that_goes_as_soon_as_it_is_used_is_not_made_anew_without_a_pause() -> None:
    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Basic.Publish):
            return (spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 40),)
        return None

    async with Peer(script) as peer, RMQClient(url=peer.url) as client:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while len(peer.connections) < 30 and loop.time() - started < 2:
            with pytest.raises(ConnectionLostError, match="406 PRECONDITION_FAILED"):
                await soon(client.remote_call("anything"))
        assert len(peer.connections) < 30


async def test_a_client_that_may_not_publish_keeps_its_connection_and_tries_once_a_second() -> None:
    refused = 0

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        nonlocal refused
        if isinstance(frame, spec.Basic.Publish):
            refused += 1
            return (spec.Channel.Close(403, "ACCESS_REFUSED", 60, 40),)
        return None

    async with Peer(script) as peer, RMQClient(url=peer.url) as client:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(1000):
            with pytest.raises(ConfigurationError, match="403 ACCESS_REFUSED"):
                await soon(client.remote_call("anything"))
        assert len(peer.connections) == 1
        assert refused < 10 + loop.time() - started
        assert client.pending == 0

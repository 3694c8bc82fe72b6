"""The client and server that know no broker."""

from __future__ import annotations

import asyncio

import pytest

import rabibridge
from rabibridge_core import ConfigurationError, ConnectionState
from rabibridge_core.rpc import RpcBase, RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_testing import MemoryBroker, forget_broker


async def add(left: int, right: int) -> int:
    return left + right


async def test_a_url_is_all_that_they_need() -> None:
    server = RpcServer(url="memory://neutral")
    server.add_service(add)
    async with server, RpcClient(url="memory://neutral") as client:
        serving = asyncio.create_task(server.run_serve(signals=False))
        assert await client.remote_call("add", (1, 2), timeout=30) == 3
        assert await client.try_remote_call("add", (1,), timeout=30, kwargs={"right": 4}) == (True, (0, 5))
        assert client.health()
        server.stop()
        await serving
    assert client.state is server.state is ConnectionState.CLOSED
    forget_broker("neutral")


async def test_a_transport_and_settings_can_be_given() -> None:
    broker = MemoryBroker()
    settings = load_settings(require_broker=False)
    async with RpcBase(settings=settings, transport=broker.transport(), name="probe") as base:
        assert base.state is ConnectionState.READY
        assert repr(base) == "<RpcBase 'probe'  ready>"


def test_without_a_broker_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RABIBRIDGE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="RABIBRIDGE_URL"):
        RpcClient()


def test_the_classes_for_rabbitmq_are_these_with_other_arguments() -> None:
    assert issubclass(rabibridge.RMQClient, RpcClient)
    assert issubclass(rabibridge.RMQServer, RpcServer)
    assert issubclass(rabibridge.RMQClient, rabibridge.RMQBase)
    assert issubclass(rabibridge.RMQBase, RpcBase)
    assert rabibridge.RMQClient.remote_call is RpcClient.remote_call

"""Plug-ins: found by entry points, one apart from the other, told of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins import hookimpl, plugin_manager
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.plugins.observers import ObservedRequest
from rabibridge_core.plugins.observing import start_call, start_request, with_headers
from rabibridge_core.settings import Settings
from rabibridge_testing import MemoryBroker, MemoryTransport
from tests.unit.plugin_support import entry_points
from tests.unit.scripted_requests import ScriptedRequest

if TYPE_CHECKING:
    from rabibridge_core.transport import Transport


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    @hookimpl
    def rabibridge_call_sent(self, func_name: str, correlation_id: str, timeout: float | None) -> None:
        self.heard.append(("call sent", func_name, correlation_id, timeout))

    @hookimpl
    def rabibridge_call_finished(self, func_name: str, duration: float, error: BaseException | None) -> None:
        self.heard.append(("call finished", func_name, duration >= 0, error))

    @hookimpl
    def rabibridge_request_received(self, service: str, correlation_id: str) -> None:
        self.heard.append(("request received", service, correlation_id))

    @hookimpl
    def rabibridge_request_finished(self, service: str, error: BaseException | None) -> None:
        self.heard.append(("request finished", service, error))


def test_nothing_is_loaded_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: pytest.fail("entry points were read"))
    PluginManager()


def test_the_installed_transport_is_found() -> None:
    manager = plugin_manager()
    assert plugin_manager() is manager
    manager.load()
    assert manager.get_plugin("rabbitmq") is not None
    assert manager.broken == {}


def test_a_plugin_that_is_blocked_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points(monkeypatch, rabbitmq="rabibridge.plugin")
    manager = PluginManager()
    manager.set_blocked("rabbitmq")
    manager.load()
    assert manager.get_plugin("rabbitmq") is None
    with pytest.raises(ConfigurationError, match="amqp://"):
        manager.transport("amqp", Settings(), "name")


def test_the_scheme_picks_the_transport(manager: PluginManager) -> None:
    made: list[tuple[str, str]] = []

    class Gopher:
        @hookimpl
        def rabibridge_transport(self, scheme: str, name: str) -> Transport | None:
            if scheme != "gopher":
                return None
            made.append((scheme, name))
            return MemoryBroker(scheme).transport(name)

    class Silent:
        @hookimpl
        def rabibridge_transport(self) -> None:
            return None

    manager.register(Gopher())
    manager.register(Silent())
    assert isinstance(manager.transport("gopher", Settings(), "me"), MemoryTransport)
    assert made == [("gopher", "me")]
    with pytest.raises(ConfigurationError, match="finger://"):
        manager.transport("finger", Settings(), "me")


def test_listeners_hear_of_calls(manager: PluginManager) -> None:
    listener = Listener()
    manager.register(listener)
    hooks = CallHooks(manager)
    assert hooks.client is not None
    assert hooks.server is not None
    error = ValueError("x")
    call = start_call(hooks.client, "call", "f")
    assert with_headers(call, b"1", 2.5, None) is None
    call.ended(error, None)
    arrived = ObservedRequest("call", "f", ScriptedRequest((), correlation_id=b"\xff"), 0.0)
    start_request(hooks.server, arrived).ended("succeeded", None, None)
    assert listener.heard == [
        ("call sent", "f", "1", 2.5),
        ("call finished", "f", True, error),
        ("request received", "f", "\\xff"),
        ("request finished", "f", None),
    ]


def test_without_listeners_there_is_nothing_to_pay_for(manager: PluginManager) -> None:
    class OnlyTransport:
        @hookimpl
        def rabibridge_transport(self) -> None: ...

    manager.register(OnlyTransport())
    hooks = CallHooks(manager)
    assert (hooks.client, hooks.server) == (None, None)


async def test_listeners_hear_of_a_whole_call(fake_broker: Any) -> None:
    from rabibridge import RemoteExecutionError, RMQClient

    async def work(number: int) -> float:
        return 1 / number

    fake_broker.add_service(work)
    listener = Listener()
    manager = plugin_manager()
    manager.register(listener)
    try:
        async with RMQClient() as client:
            assert await client.remote_call("work", (2,), timeout=30) == 0.5
            with pytest.raises(RemoteExecutionError):
                await client.remote_call("work", (0,))
    finally:
        manager.unregister(listener)
    calls = [heard for heard in listener.heard if heard[0].startswith("call")]
    assert [heard[:2] for heard in calls] == [("call sent", "work"), ("call finished", "work")] * 2
    assert calls[1][3] is None
    assert isinstance(calls[3][3], RemoteExecutionError)

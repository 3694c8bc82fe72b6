"""Plug-ins: found by entry points, one apart from the other, told of calls."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from rabibridge_core.errors import ConfigurationError, PluginError
from rabibridge_core.plugins import hookimpl, plugin_manager
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.settings import Settings
from rabibridge_testing import MemoryBroker, MemoryTransport

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


@pytest.fixture
def manager() -> PluginManager:
    """A manager that loads no installed plug-in."""
    manager = PluginManager()
    manager._loaded = True
    return manager


def _entry_points(monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    entries = [EntryPoint(name, value, "rabibridge") for name, value in modules.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)


def test_nothing_is_loaded_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: pytest.fail("entry points were read"))
    PluginManager()


def test_the_installed_transport_is_found() -> None:
    manager = plugin_manager()
    assert plugin_manager() is manager
    manager.load()
    assert manager.get_plugin("rabbitmq") is not None
    assert manager.broken == {}


def test_a_broken_plugin_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _entry_points(
        monkeypatch, missing="rabibridge_no_such_module", attribute="math:no_such_thing", rabbitmq="rabibridge.plugin"
    )
    manager = PluginManager()
    manager.load()
    manager.load()
    assert sorted(manager.broken) == ["attribute", "missing"]
    assert all(isinstance(error, PluginError) for error in manager.broken.values())
    assert "rabibridge_no_such_module" in str(manager.broken["missing"])
    assert isinstance(manager.broken["missing"].__cause__, ImportError)
    assert manager.get_plugin("rabbitmq") is not None
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    with pytest.raises(ConfigurationError, match=r"attribute|missing"):
        manager.transport("gopher", Settings(), "name")


def test_a_plugin_with_a_misspelt_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    import math

    class Misspelt:
        @hookimpl
        def rabibridge_transprot(self) -> None: ...

    monkeypatch.setattr(math, "misspelt_plugin", Misspelt(), raising=False)
    _entry_points(monkeypatch, misspelt="math:misspelt_plugin", rabbitmq="rabibridge.plugin")
    manager = PluginManager()
    manager.load()
    assert list(manager.broken) == ["misspelt"]
    assert "rabibridge_transprot" in str(manager.broken["misspelt"])
    assert manager.get_plugin("misspelt") is None
    assert manager.get_plugin("rabbitmq") is not None


def test_a_hook_that_asks_for_what_there_is_not(manager: PluginManager) -> None:
    class Greedy:
        @hookimpl
        def rabibridge_call_sent(self, func_name: str, password: str) -> None: ...

    with pytest.raises(pluggy.PluginValidationError, match="password"):
        manager.register(Greedy())


def test_a_plugin_that_is_blocked_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    _entry_points(monkeypatch, rabbitmq="rabibridge.plugin")
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
    assert hooks.active
    error = ValueError("x")
    started, headers = hooks.call_sent("f", b"1", 2.5, None)
    assert headers is None
    hooks.call_finished("f", b"1", started, error)
    started = hooks.request_received("f", b"\xff", {})
    hooks.request_finished("f", b"\xff", started, None)
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
    assert not CallHooks(manager).active


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError])
def test_a_listener_that_raises_touches_nobody(
    manager: PluginManager, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    class Broken:
        @hookimpl(tryfirst=True)
        def rabibridge_call_sent(self) -> None:
            raise error("broken listener")

    manager.register(Broken())
    hooks = CallHooks(manager)
    hooks.call_sent("f", b"1", None, None)
    assert "broken listener" in caplog.text
    assert "rabibridge_call_sent" in caplog.text


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

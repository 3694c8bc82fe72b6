"""Plug-ins that cannot be used: named in the log and in ``broken``, apart from the others."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins import hookimpl
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.settings import Settings
from rabibridge_testing import MemoryBroker, MemoryTransport

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def manager() -> PluginManager:
    """A manager that loads no installed plug-in."""
    manager = PluginManager()
    manager._loaded = True
    return manager


def _entry_points(monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    entries = [EntryPoint(name, value, "rabibridge") for name, value in modules.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)


def test_a_plugin_that_exits_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "plugin_that_exits.py").write_text("raise SystemExit('not on this machine')")
    (tmp_path / "plugin_that_is_odd.py").write_text("raise type('Odd', (BaseException,), {})('odd')")
    monkeypatch.syspath_prepend(str(tmp_path))
    _entry_points(monkeypatch, exits="plugin_that_exits", odd="plugin_that_is_odd", rabbitmq="rabibridge.plugin")
    manager = PluginManager()
    manager.load()
    assert "not on this machine" in str(manager.broken["exits"])
    assert "odd" in str(manager.broken["odd"])
    assert manager.get_plugin("rabbitmq") is not None
    with pytest.raises(ConfigurationError, match="not on this machine"):
        manager.transport("gopher", Settings(), "name")


_NAMED = "from rabibridge_core.plugins import hookimpl\n@hookimpl\ndef rabibridge_call_sent(): ...\n"


def test_two_distributions_with_a_plugin_of_one_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("first", "second"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rabibridge]\nsame = plugin_of_{name}\n")
        (tmp_path / f"plugin_of_{name}.py").write_text(_NAMED)
    monkeypatch.syspath_prepend(str(tmp_path))
    manager = PluginManager()
    manager.load()
    plugins = {name: plugin for name, plugin in manager.list_name_plugin() if name.startswith("same")}
    assert sorted(plugins) in (["same", "same (first)"], ["same", "same (second)"])
    assert sorted(getattr(plugin, "__name__", "") for plugin in plugins.values()) == [
        "plugin_of_first",
        "plugin_of_second",
    ]
    assert "two distributions have a plug-in 'same'" in caplog.text
    assert manager.broken == {}


@pytest.mark.parametrize("kind", ["async def", "async def, yield", "def, yield"])
def test_a_hook_that_would_never_run_is_refused(manager: PluginManager, kind: str) -> None:
    class Coroutine:
        @hookimpl
        async def rabibridge_call_sent(self) -> None: ...

    class AsyncGenerator:
        @hookimpl
        async def rabibridge_call_sent(self) -> Any:
            yield

    class Generator:
        @hookimpl
        def rabibridge_call_sent(self) -> Any:
            yield

    plugin = {"async def": Coroutine, "async def, yield": AsyncGenerator, "def, yield": Generator}[kind]()
    with pytest.raises(pluggy.PluginValidationError, match="rabibridge_call_sent of plug-in 'never'"):
        manager.register(plugin, "never")
    assert not manager.is_registered(plugin)


def test_a_wrapper_is_a_generator_function(manager: PluginManager) -> None:
    seen: list[object] = []

    class Wraps:
        @hookimpl(wrapper=True)
        def rabibridge_transport(self) -> Any:
            seen.append((yield))
            return seen[-1]

    class Makes:
        @hookimpl
        def rabibridge_transport(self, scheme: str, name: str) -> Any:
            return MemoryBroker(scheme).transport(name)

    manager.register(Wraps())
    manager.register(Makes())
    assert seen == [manager.transport("gopher", Settings(), "me")]


@pytest.mark.parametrize("offers", [None, 5, [None], {"a": 1}, "raises"], ids=repr)
def test_serializers_that_cannot_be_used(
    manager: PluginManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, offers: Any
) -> None:
    from rabibridge_core._codec import serializers

    class Broken:
        @hookimpl
        def rabibridge_serializers(self) -> Any:
            if offers == "raises":
                raise ValueError("raises")
            return offers

    class Fine:
        name, content_type, trusted_only = "fine", "application/x-fine", False

        def dumps(self, value: object) -> bytes:
            return b""

        def loads(self, data: object) -> None: ...

        @hookimpl
        def rabibridge_serializers(self) -> Any:
            return [self]

    monkeypatch.setattr(serializers, "registry", serializers.SerializerRegistry())
    fine = Fine()
    manager.register(Broken(), "broken")
    manager.register(fine, "fine")
    for _ in range(3):  # for each client and server
        manager.load_serializers()
    if offers is None:  # pluggy takes None for no answer
        assert manager.broken == {}
    else:
        assert list(manager.broken) == ["broken"]
        (record,) = caplog.records
        assert "the plug-in 'broken' cannot be used" in record.getMessage()
    assert serializers.registry.get("fine") is fine


@pytest.mark.parametrize("broken", [KeyError("no pigeons"), "no pigeons"], ids=["raised", "returned"])
def test_a_transport_that_cannot_be_made_does_not_keep_the_others(manager: PluginManager, broken: Any) -> None:
    class Makes:
        @hookimpl
        def rabibridge_transport(self, scheme: str) -> Any:
            return MemoryBroker("gopher").transport("me") if scheme == "gopher" else None

    class Broken:
        @hookimpl
        def rabibridge_transport(self) -> Any:
            if isinstance(broken, Exception):
                raise broken
            return broken

    manager.register(Makes(), "makes")
    manager.register(Broken(), "broken")  # pluggy asks the last one first
    assert isinstance(manager.transport("gopher", Settings(), "me"), MemoryTransport)
    assert list(manager.broken) == ["broken"]
    with pytest.raises(ConfigurationError, match="no pigeons" if isinstance(broken, Exception) else "returned a str"):
        manager.transport("finger", Settings(), "me")

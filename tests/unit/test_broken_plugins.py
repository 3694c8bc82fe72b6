"""Plug-ins that cannot be used: named in the log and in ``broken``, apart from the others."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from rabibridge.settings import RABBITMQ
from rabibridge_core.errors import ConfigurationError, PluginError
from rabibridge_core.plugins import hookimpl
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.plugins.observing import start_call, with_headers
from rabibridge_core.settings import Settings
from rabibridge_testing import MemoryBroker, MemoryTransport
from tests.unit.plugin_support import entry_points

if TYPE_CHECKING:
    from pathlib import Path


def test_entry_points_that_cannot_be_loaded_do_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "plugin_that_exits.py").write_text("raise SystemExit('not on this machine')")
    (tmp_path / "plugin_that_is_odd.py").write_text("raise type('Odd', (BaseException,), {})('odd')")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = {
        "missing": ("rabibridge_no_such_module", "rabibridge_no_such_module"),
        "attribute": ("math:no_such_thing", "no_such_thing"),
        "exits": ("plugin_that_exits", "not on this machine"),
        "odd": ("plugin_that_is_odd", "odd"),
    }
    entry_points(monkeypatch, **{name: value for name, (value, _) in broken.items()}, rabbitmq="rabibridge.plugin")
    manager = PluginManager()
    manager.load()
    manager.load()
    assert manager.broken.keys() == broken.keys()
    for name, (_, reason) in broken.items():
        assert isinstance(manager.broken[name], PluginError)
        assert reason in str(manager.broken[name])
    assert isinstance(manager.broken["missing"].__cause__, ImportError)
    assert manager.get_plugin("rabbitmq") is not None
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == len(broken)
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


def test_a_transport_that_is_installed_and_cannot_be_made_is_not_said_to_be_missing(manager: PluginManager) -> None:
    class Broken:
        @hookimpl
        def rabibridge_transport_settings(self) -> Any:
            return RABBITMQ

        @hookimpl
        def rabibridge_transport(self) -> Any:
            raise ImportError("undefined symbol")

    manager.register(Broken(), "broken")
    with pytest.raises(ConfigurationError, match=r"begin with amqp:// cannot be used: .*undefined symbol") as caught:
        manager.transport("amqp", Settings(), "me")
    assert "install" not in str(caught.value)


def test_a_plugin_with_a_misspelt_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    import math

    class Misspelt:
        @hookimpl
        def rabibridge_transprot(self) -> None: ...

    monkeypatch.setattr(math, "misspelt_plugin", Misspelt(), raising=False)
    entry_points(monkeypatch, misspelt="math:misspelt_plugin", rabbitmq="rabibridge.plugin")
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
    assert hooks.client is not None
    with_headers(start_call(hooks.client, "call", "f"), b"1", None, None)
    assert "broken listener" in caplog.text
    assert "rabibridge_call_sent" in caplog.text


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        ("redis", "pip install rabibridge-redis"),
        ("rediss+sentinel", "pip install rabibridge-redis"),
        ("gopher", "install the distribution that provides it, or correct the URL"),
    ],
)
def test_a_transport_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, advice: str) -> None:
    entry_points(monkeypatch, rabbitmq="rabibridge.plugin")
    with pytest.raises(ConfigurationError, match=f"handles URLs that begin with {re.escape(scheme)}://.*{advice}"):
        PluginManager().transport(scheme, Settings(), "name")

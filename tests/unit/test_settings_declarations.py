"""Settings: declarations of transports that are wrong, or that clash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from rabibridge.settings import RABBITMQ
from rabibridge_core.errors import PluginError
from rabibridge_core.plugins import hookimpl
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.settings import TransportDeclaration, TransportSettings, boolean_setting
from tests.unit.toy_transport import TOY, ToyPlugin

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"name": "Toy"}, "lower case"),
        ({"name": "app"}, "none of app"),
        ({"schemes": {}}, "no URL scheme"),
        ({"schemes": {"Toy": 1}}, "'Toy' with port 1"),
        ({"schemes": {"toy": 65536}}, "65536"),
        ({"tls_schemes": {"toy": "toyz"}}, "toyz"),
        ({"required": ("host", "ssl")}, "required has ssl"),
        ({"variable_prefix": "RABIBRIDGE_"}, "other than RABIBRIDGE_"),
        ({"variable_prefix": "toy"}, "'toy'"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(PluginError, match=problem):
        TransportDeclaration(**{"name": "toy", "schemes": {"toy": 1}, **wrong})


def test_settings_of_a_transport_do_not_hide_those_of_the_connection() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Hiding(TransportSettings):
        host: bool = boolean_setting(default=False)

    with pytest.raises(PluginError, match="host, which belong to the connection"):
        TransportDeclaration(name="toy", schemes={"toy": 1}, settings=Hiding)


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        ({"name": "rabbitmq"}, "the name rabbitmq"),
        ({"schemes": {"toy": 1, "amqp": 2}}, "declares amqp,"),
        ({"variable_prefix": "RABBITMQ_"}, "the prefix RABBITMQ_"),
    ],
)
def test_the_first_of_two_declarations_that_clash_is_kept(
    second: dict[str, Any], shared: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Clashing:
        @hookimpl
        def rabibridge_transport_settings(self) -> TransportDeclaration:
            return TransportDeclaration(**{"name": "toy", "schemes": {"toy": 1}, **second})

    class RabbitMQ:
        @hookimpl
        def rabibridge_transport_settings(self) -> TransportDeclaration:
            return RABBITMQ

    manager = PluginManager()
    manager._loaded = True
    manager.register(RabbitMQ(), "rabbitmq")
    manager.register(Clashing(), "clashing")
    assert list(manager.transports()) == [RABBITMQ]
    assert shared in str(manager.broken["clashing"])
    assert len(caplog.records) == 1


def test_a_plugin_that_declares_nonsense_is_named_once_and_the_others_work(caplog: pytest.LogCaptureFixture) -> None:
    class Raising:
        @hookimpl
        def rabibridge_transport_settings(self) -> TransportDeclaration:
            raise RuntimeError("not today")

    class Odd:
        @hookimpl
        def rabibridge_transport_settings(self) -> TransportDeclaration:
            return {"name": "odd"}  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    manager = PluginManager()
    manager._loaded = True
    manager.register(Raising(), "raising")
    manager.register(Odd(), "odd")
    manager.register(ToyPlugin(), "toy")
    assert list(manager.transports()) == list(manager.transports()) == [TOY]
    assert "not today" in str(manager.broken["raising"])
    assert "{'name': 'odd'}" in str(manager.broken["odd"])
    assert len(caplog.records) == 2
    manager.unregister(name="toy")
    assert list(manager.transports()) == []

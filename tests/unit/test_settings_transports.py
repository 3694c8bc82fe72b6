"""Settings of transports: a third one declares itself as a plug-in, and core needs no change for it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge.settings import RabbitMQSettings, rabbitmq_settings
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins import plugin_manager
from rabibridge_core.settings import (
    Endpoint,
    Secret,
    Settings,
    TransportDeclaration,
    TransportSettings,
    load_settings,
)
from rabibridge_core.settings.transports import TransportCatalog, provide_transports
from tests.unit.settings_support import error_of, only
from tests.unit.toy_transport import ToyPlugin, ToySettings, ToyTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture
def toy() -> Iterator[None]:
    plugin = ToyPlugin()
    plugin_manager().register(plugin)
    yield
    plugin_manager().unregister(plugin)


@pytest.fixture
def installed() -> Iterator[TransportCatalog]:
    """A catalog that the settings see instead of the installed plug-ins."""
    catalog = TransportCatalog()
    provide_transports(lambda: catalog)
    yield catalog
    provide_transports(lambda: plugin_manager().transports())


# ---- a transport of a distribution of its own


@pytest.mark.usefixtures("toy")
def test_its_urls_have_its_ports_and_need_no_login() -> None:
    assert only(load_settings(url="toy://h")) == Endpoint("h", 4000, scheme="toy", virtualhost="0")
    assert str(only(load_settings(url="toy://h/7"))) == "toy://h:4000/7"
    endpoint = only(load_settings(url="toys://u:p@h:1/3"))
    assert (endpoint.username, endpoint.password, endpoint.port, endpoint.ssl) == ("u", Secret("p"), 1, True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert only(load_settings(url="toy://h", ssl=context)) == Endpoint(
        "h", 4001, scheme="toys", virtualhost="0", ssl=context
    )


@pytest.mark.usefixtures("toy")
def test_wrong_urls_are_refused_in_the_usual_words() -> None:
    assert "use toy:// for no TLS" in error_of(url="toys://h", ssl=False)
    assert "virtualhost is '16' (from the argument url=); allowed: the number of a box" in error_of(url="toy://h/16")
    assert "virtualhost is '-1' (from the argument virtualhost=)" in error_of(url="toy://h", virtualhost="-1")
    assert "not a host name" in error_of(url="toy://")
    assert "mix transports" in error_of(url="toy://h,amqp://u:p@h")
    assert "unknown query parameter 'heartbeat'; allowed: 'pool_size'" in error_of(url="toy://h?heartbeat=5")
    assert "Use toys://" in error_of(url="toy://h?cafile=x")
    assert "toy://, toys://" in error_of(url="h:4000")


@pytest.mark.usefixtures("toy")
def test_its_settings_come_from_url_variable_and_file_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(url: str = "toy://h") -> ToySettings:
        return load_settings(url=url).transport_as(ToySettings)

    assert found() == ToySettings()
    Path("rabibridge.toml").write_text(
        '[app]\nPOOL_SIZE = 5\nPATIENCE = 1\nWIND_UP = true\nCOLOR = "blue"\n', encoding="utf-8"
    )
    assert found() == ToySettings(pool_size=5, patience=1.0, wind_up=True, colour="blue")
    monkeypatch.setenv("RABIBRIDGE_POOL_SIZE", "6")
    monkeypatch.setenv("RABIBRIDGE_WIND_UP", "off")
    assert found() == ToySettings(pool_size=6, patience=1.0, colour="blue")
    assert found("toy://a?pool_size=7,toy://b").pool_size == 7
    assert "different values of pool_size" in error_of(url="toy://a?pool_size=7,toy://b?pool_size=8")


@pytest.mark.usefixtures("toy")
def test_its_settings_are_checked_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    text = error_of(url="toy://h?pool_size=0")
    assert "pool_size is '0' (from the query parameter pool_size of the argument url=)" in text
    assert "allowed: a whole number from 1 to 100 (connections)" in text
    with pytest.raises(ConfigurationError, match=r"patience is 0 .from the argument patience=.; allowed: 0\.1 to"):
        ToySettings(patience=0)
    monkeypatch.setenv("RABIBRIDGE_COLOUR", "green")
    assert "colour is 'green' (from the environment variable RABIBRIDGE_COLOUR); allowed: red or blue" in error_of(
        url="toy://h"
    )
    assert load_settings(url="amqp://u:p@h").transport == RabbitMQSettings(), (
        "settings of other transports are not read"
    )


@pytest.mark.usefixtures("toy")
def test_its_connection_is_configured_by_fields_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_HOST", "not-this-one")
    Path("rabibridge.toml").write_text('[toy]\nTOY_HOST = "h1,h2:2"\nTOY_VIRTUALHOST = "3"\n', encoding="utf-8")
    settings = load_settings(transport_name="toy")
    assert [str(endpoint) for endpoint in settings.endpoints] == ["toy://h1:4000/3", "toy://h2:2/3"]
    monkeypatch.setenv("TOY_PASSWORD", "p")
    monkeypatch.setenv("TOY_SSL", "yes")
    endpoint = load_settings(transport_name="toy", host="h").endpoints[0]
    assert endpoint == Endpoint("h", 4001, "", Secret("p"), "3", scheme="toys", ssl=True)
    monkeypatch.setenv("TOY_VIRTUALHOST", "x")
    assert "virtualhost is 'x' (from the environment variable TOY_VIRTUALHOST)" in error_of(transport_name="toy")


@pytest.mark.usefixtures("toy")
def test_its_variable_for_a_url_is_read_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOYCLOUD_URL", "toy://cloud")
    monkeypatch.setenv("CLOUDAMQP_URL", "amqp://u:p@not-this-one")
    assert only(load_settings(transport_name="toy")).host == "cloud"
    monkeypatch.setenv("TOY_HOST", "field")
    assert only(load_settings(transport_name="toy")).host == "field"


@pytest.mark.usefixtures("toy")
def test_what_is_missing_is_named_with_its_places() -> None:
    text = error_of(transport_name="toy")
    assert "host: the argument host=, the environment variable TOY_HOST, or TOY_HOST under [toy]" in text
    assert "toy://host:4000/0" in text
    assert "password" not in text


@pytest.mark.usefixtures("toy")
def test_its_keys_of_a_shared_file_are_known() -> None:
    text = (
        '[toy]\nTOY_HOST = "h"\n[app]\nPOOL_SIZE = 5\nHEARTBEAT = 5\n[rabbitmq]\nRABBITMQ_HOST = "h"\n'
        "[profile.x]\nTOY_PORT = 7\n"
    )
    Path("rabibridge.toml").write_text(text, encoding="utf-8")
    assert only(load_settings(transport_name="toy", profile="x")).port == 7
    Path("rabibridge.toml").write_text(text + "TOY_HOTS = 1\n", encoding="utf-8")
    assert "did you mean TOY_HOST?" in error_of(transport_name="toy", profile="x")


@pytest.mark.usefixtures("toy")
def test_its_transport_gets_its_settings() -> None:
    transport = plugin_manager().transport("toy", load_settings(url="toy://h?pool_size=9"), "name")
    assert isinstance(transport, ToyTransport)
    assert transport.settings == ToySettings(pool_size=9)


# ---- which transport is meant


@pytest.mark.usefixtures("toy")
def test_with_several_transports_one_must_be_named() -> None:
    text = error_of(host="h")
    for part in ("rabbitmq", "toy", "url=", "transport_name="):
        assert part in text
    assert load_settings(require_broker=False).transport == TransportSettings()
    assert load_settings(require_broker=False, transport_name="rabbitmq").transport == RabbitMQSettings()


def test_a_transport_that_is_not_installed_is_named_with_those_that_are() -> None:
    text = error_of(transport_name="gopher")
    assert "'gopher' is not installed" in text
    assert "rabbitmq" in text
    assert "memory://" in text


def test_without_any_transport_only_urls_are_read(installed: TransportCatalog) -> None:
    assert "no installed transport can be configured without one" in error_of(host="h")
    assert only(load_settings(url="gopher://h:70/x")) == Endpoint("h", 70, virtualhost="x", scheme="gopher")
    installed.add(TransportDeclaration(name="plain", schemes={"plain": 1}))
    assert "plain://host:1" in error_of(transport_name="plain")
    assert "cannot use" in error_of(url="plain://h", ssl=True)


def test_a_transport_may_need_a_password_alone(installed: TransportCatalog) -> None:
    installed.add(TransportDeclaration(name="key", schemes={"key": 1}, required=("host", "password")))
    text = error_of(url="key://user@h")
    assert "has no password;" in text
    assert "key://:password@host:1/" in text
    assert only(load_settings(url="key://:p@h")).username == ""


def test_settings_of_one_transport_are_not_those_of_another() -> None:
    assert rabbitmq_settings(Settings()) == RabbitMQSettings()
    with pytest.raises(ConfigurationError, match="ToySettings, not RabbitMQSettings"):
        rabbitmq_settings(Settings(transport=ToySettings()))

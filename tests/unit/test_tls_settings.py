"""Settings of TLS that contradict each other, and those that only a trusted file may hold."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from rabibridge import ConfigurationError, RMQClient, RMQServer
from rabibridge._api.base import ConnectionOptions
from rabibridge.settings import RabbitMQSettings, rabbitmq_settings
from rabibridge.sync import Client
from rabibridge_core._tls.certificates import Certificate, parse_certificate, read_certificate
from rabibridge_core.settings import Secret, load_settings
from rabibridge_core.settings.fields import rules_of
from rabibridge_core.settings.overview import HIDDEN, overview
from tests.support.tls_broker import YESTERDAY
from tests.unit.settings_support import error_of, write_file

pytestmark = pytest.mark.usefixtures("clean_place")

URL = "amqps://u:p@h/"
BARE = "amqps://h/"
CERTIFICATE = {"tls_cert_file": "c.pem", "tls_key_file": "c.key"}


def test_the_parameters_of_a_url_are_those_of_rabbitmq(env: Any) -> None:
    env(RABIBRIDGE_TLS_CA_FILE="other.pem")
    url = f"{URL}?cacertfile=ca.pem&certfile=c.pem&keyfile=/k/c.key&server_name_indication=b&verify=verify_peer"
    own = rabbitmq_settings(load_settings(url=url))
    here = Path.cwd()
    assert (own.tls_ca_file, own.tls_cert_file, own.tls_key_file) == (
        str(here / "ca.pem"), str(here / "c.pem"), str(Path("/k/c.key").absolute())
    )  # fmt: skip
    assert own.tls_server_name == "b"
    assert "different values of cacertfile" in error_of(url=f"{URL}?cacertfile=a,{URL}?cacertfile=b")
    assert rabbitmq_settings(load_settings(url=URL)).tls_ca_file == str(here / "other.pem")


@pytest.mark.parametrize("value", ["verify_none", "", "1", "Verify_Peer"])
def test_verification_cannot_be_switched_off(value: str) -> None:
    text = error_of(url=f"{URL}?verify={value}")
    assert "another verify than verify_peer: certificates and host names are always verified" in text
    assert "verify is 'verify" not in text


def test_no_login_is_needed_with_a_certificate(env: Any) -> None:
    assert "no user name" in error_of(url=BARE) or "password" in error_of(url=BARE)
    (endpoint,) = load_settings(url=f"{BARE}?auth_mechanism=external&certfile=c").endpoints
    assert (endpoint.username, bool(endpoint.password)) == ("", False)
    env(RABIBRIDGE_AUTH_MECHANISM="External")
    assert str(*load_settings(url="amqps://gateway@h/").endpoints) == "amqps://gateway@h:5671/"
    assert load_settings(host="h", port=5671, ssl=True).endpoints
    assert "no host" in error_of(port=5671)
    env(RABIBRIDGE_AUTH_MECHANISM="plain")
    assert "no username, password" in error_of(host="h", port=5671)
    env(RABIBRIDGE_AUTH_MECHANISM="both")
    assert "auth_mechanism is 'both'" in error_of(host="h", port=5671)


@pytest.mark.parametrize("made_by", [RMQClient, RMQServer])
@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        (URL, {"tls_key_file": "k"}, "without tls_cert_file"),
        (URL, {"tls_key_password": "p"}, "without tls_cert_file"),
        ("amqp://u:p@h/", {"tls_ca_file": "ca"}, "needs TLS, which amqp://u@h:5672/ does not use"),
        ("amqp://u:p@h/", {"tls_server_name": "x"}, "needs TLS"),
        ("amqp://h/", {"auth_mechanism": "external", **CERTIFICATE}, "auth_mechanism=external needs TLS"),
        ([URL, "amqp://u:p@plain/"], CERTIFICATE, "which amqp://u@plain:5672/ does not use"),
        (BARE, {"auth_mechanism": "external"}, "no client certificate to log in by"),
    ],
)
def test_half_a_configuration_is_refused_when_it_is_made(
    url: Any, options: dict[str, Any], says: str, made_by: type[RMQClient | RMQServer]
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        made_by(settings=load_settings(url=url, options=options))


def test_arguments_are_the_settings_of_the_same_names() -> None:
    rules = {name: rule for name, rule in rules_of(RabbitMQSettings).items() if rule.group == "tls"}
    assert {*rules} <= {*ConnectionOptions.__annotations__}
    client = RMQClient(
        url=f"{URL}?cacertfile=of-the-url.pem",
        tls_ca_file=Path("ca.pem"),
        tls_cert_file="c.pem",
        tls_key_file="c.key",
        tls_key_password="open-sesame",
        tls_server_name="b",
        auth_mechanism="plain",
    )
    own = rabbitmq_settings(client.settings)
    assert own.tls_ca_file == str(Path("ca.pem").absolute())  # an argument takes precedence over the URL
    assert (own.tls_server_name, own.tls_key_password) == ("b", Secret("open-sesame"))
    assert "open-sesame" not in repr(vars(client)) + repr(own)


@pytest.mark.parametrize("made_by", [RMQClient, RMQServer, Client])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"url": "memory://x", "tls_ca_file": "ca"},
            "the argument tls_ca_file= is no setting of the transport 'memory'",
        ),
        ({"url": "amqp://u:p@h/", "tls_cert_file": "c"}, "tls_cert_file needs TLS"),
        ({"url": URL, "tls_ca_file": " "}, "the argument tls_ca_file= is empty"),
        (
            {"url": URL, "auth_mechanism": "both"},
            "'both' .from the argument auth_mechanism=.; allowed",
        ),
        (
            {"settings": load_settings, "tls_server_name": "x"},
            "settings= stands for .* leave out tls_server_name=",
        ),
        (
            {"url": URL, "ssl": ssl.create_default_context(), "tls_ca_file": "ca"},
            "SSLContext and tls_ca_file contradict",
        ),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], says: str, made_by: type[Any]) -> None:
    if "settings" in arguments:
        arguments = {**arguments, "settings": load_settings(url=URL)}
    with pytest.raises(ConfigurationError, match=says):
        made_by(**arguments).connect()


def test_a_context_excludes_files_but_not_the_other_settings() -> None:
    context = ssl.create_default_context()
    with pytest.raises(ConfigurationError, match="SSLContext and tls_ca_file contradict"):
        RMQClient(settings=load_settings(url=URL, ssl=context, options={"tls_ca_file": "ca"}))
    options = {"auth_mechanism": "external", "tls_server_name": "b"}
    assert RMQClient(settings=load_settings(url=BARE, ssl=context, options=options))


@pytest.mark.parametrize(
    "key", ["TLS_CA_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_SERVER_NAME", "TLS_KEY_PASSWORD_FILE"]
)
def test_a_file_that_was_found_by_chance_decides_nothing_of_this(key: str, env: Any) -> None:
    write_file(f'[app]\n{key} = "x"\n')
    text = error_of(url=URL)
    assert f"{key} under [app]" in text
    assert "is not accepted: the file was found in the current folder" in text
    if key != "TLS_KEY_PASSWORD_FILE":
        env(RABIBRIDGE_CONFIG="rabibridge.toml")
        assert load_settings(url=URL)


def test_the_settings_are_shown_without_the_password_of_the_key(env: Any) -> None:
    env(RABIBRIDGE_URL=URL, RABIBRIDGE_TLS_CERT_FILE="c.pem", RABIBRIDGE_TLS_KEY_PASSWORD="open-sesame")
    shown = {one.name: one.value for one in overview(transport_name="rabbitmq").settings}
    assert shown["tls_key_password"] == HIDDEN
    assert shown["tls_cert_file"] == str(Path("c.pem").absolute())
    assert shown["tls_ca_file"] == "those of the system"
    assert shown["auth_mechanism"] == "plain"
    assert "open-sesame" not in repr(load_settings())


@pytest.mark.parametrize("name", ["gateway", "gateway,O=x", "g\u0430teway ", ""])
def test_what_a_certificate_says(name: str, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("h", common_name=name or None, not_after=YESTERDAY)
    path = tmp_path / "c.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    assert read_certificate(str(path)) == Certificate(name, float(int(YESTERDAY.timestamp())))


@pytest.mark.parametrize("content", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_says_nothing(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pem"
    assert read_certificate(str(path)) is None
    path.write_text(content)
    assert read_certificate(str(path)) is None


def test_a_certificate_that_ends_early_is_none() -> None:
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().issue_cert("h").cert_chain_pems[0].bytes().decode())
    for size in range(0, len(der) - 1, 7):
        with pytest.raises(ValueError, match="early"):
            parse_certificate(der[:size])

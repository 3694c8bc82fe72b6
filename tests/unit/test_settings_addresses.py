"""Settings: hosts and URLs, TLS, and that no secret shows anywhere."""

from __future__ import annotations

import copy
import pickle
import ssl
import traceback
from typing import Any

import pytest

from rabibridge.settings import rabbitmq_settings
from rabibridge_core._codec.signing import MIN_KEY_SIZE
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Endpoint, Secret, Settings, load_settings
from tests.unit.settings_support import LOGIN, PASSWORD, URL, error_of, hosts, only

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.mark.parametrize("host", ["a,b:5673", " a , b:5673 ", ["a", "b:5673"], ("a", "b:5673")])
def test_several_hosts_share_a_port_unless_they_bring_their_own(host: Any) -> None:
    assert hosts(load_settings(**{**LOGIN, "host": host})) == [("a", 5672), ("b", 5673)]


def test_hosts_that_all_bring_a_port_need_no_other() -> None:
    found = load_settings(host="a:1,b:2", username="u", password="p")
    assert hosts(found) == [("a", 1), ("b", 2)]
    assert "argument port=" in error_of(host="a:1,b", username="u", password="p")


def test_a_port_argument_is_stronger_than_the_port_in_a_weaker_host(env: Any) -> None:
    env(RABBITMQ_HOST="a:1,b")
    assert hosts(load_settings(port=9, username="u", password="p")) == [("a", 9), ("b", 9)]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::1", ("::1", 5672)),
        ("[::1]", ("::1", 5672)),
        ("[fe80::1%eth0]:5673", ("fe80::1%eth0", 5673)),
        ("10.0.0.1:5673", ("10.0.0.1", 5673)),
        ("my_broker.example", ("my_broker.example", 5672)),
    ],
)
def test_hosts_are_names_or_addresses(host: str, expected: tuple[str, int]) -> None:
    assert hosts(load_settings(**{**LOGIN, "host": host})) == [expected]


def test_ipv6_in_urls_and_back() -> None:
    endpoint = only(load_settings(url="amqp://u:p@[2001:db8::1]:5673/v"))
    assert (endpoint.host, endpoint.port) == ("2001:db8::1", 5673)
    assert str(endpoint) == "amqp://u@[2001:db8::1]:5673/v"


@pytest.mark.parametrize("host", ["", " ", [], "a,,b", "a b", "a:0", "a:65536", "a:x", "a:", "[::1", "1:2:3", 5, [5]])
def test_malformed_hosts_are_refused(host: Any) -> None:
    assert "host" in error_of(**{**LOGIN, "host": host})


@pytest.mark.parametrize("port", [0, -1, 65536, "x", "", True, 5672.0, [5672]])
def test_malformed_ports_are_refused_with_the_range(port: Any, env: Any) -> None:
    text = error_of(**{**LOGIN, "port": port})
    assert "port" in text
    assert "65535" in text or "empty" in text


@pytest.mark.parametrize("url", [f"{URL},amqps://a:b@[::1]:1/v", [URL, "amqps://a:b@[::1]:1/v"]])
def test_several_urls_keep_their_order_and_their_own_parts(url: Any) -> None:
    assert [str(endpoint) for endpoint in load_settings(url=url).endpoints] == [
        "amqp://u@h:5672/",
        "amqps://a@[::1]:1/v",
    ]


@pytest.mark.parametrize(
    ("path", "virtualhost"),
    [("", "/"), ("/", "/"), ("/%2F", "/"), ("/%2f", "/"), ("/v", "v"), ("/a%2Fb", "a/b"), ("/%C3%A9%20x", "é x")],
)
def test_virtual_hosts_are_decoded_and_shown_encoded(path: str, virtualhost: str) -> None:
    endpoint = only(load_settings(url=f"amqp://u:p@h:5672{path}"))
    assert endpoint.virtualhost == virtualhost
    assert only(load_settings(url=str(endpoint).replace("@", ":p@"))) == endpoint


@pytest.mark.parametrize("password", ["%", "100%25", "@", "a:b", "a/b", "p,amqp://x", "[x]", "?#&=", "é ", "\\"])
def test_any_password_can_be_written_percent_encoded(password: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    endpoint = only(load_settings(url=f"amqp://{encoded}:{encoded}@h/"))
    assert (endpoint.username, endpoint.password.reveal()) == (password, password)
    assert only(load_settings(**{**LOGIN, "password": password})).password.reveal() == password


def test_memory_urls_need_no_log_in(env: Any) -> None:
    assert only(load_settings(url="memory://demo")) == Endpoint("demo", scheme="memory")
    assert str(only(load_settings(url="memory://"))) == "memory:///"
    env(RABIBRIDGE_URL="memory://demo")
    assert "host=" in error_of(host="h")
    assert "ssl=" in error_of(url="memory://demo", ssl=True)
    assert "mix" in error_of(url=["memory://demo", URL])


@pytest.mark.parametrize("name", ["cafile", "capath", "no_verify_ssl", "verify", "ssl_version"])
def test_tls_parameters_in_a_url_are_refused_with_the_way_out(name: str) -> None:
    text = error_of(url=f"{URL}?{name}=1")
    assert name in text
    assert "ssl=" in text


def test_unknown_query_parameters_are_refused_by_name() -> None:
    assert "'frame_max'" in error_of(url=f"{URL}?heartbeat=5&frame_max=1")


def test_a_heartbeat_in_the_url_is_taken_and_checked(env: Any) -> None:
    env(RABIBRIDGE_HEARTBEAT="7")
    assert rabbitmq_settings(load_settings(url=URL)).heartbeat == 7
    assert rabbitmq_settings(load_settings(url=f"{URL}?heartbeat=5")).heartbeat == 5
    text = error_of(url=f"{URL}?heartbeat=0")
    assert "query parameter heartbeat" in text
    assert "different values of heartbeat" in error_of(url=f"{URL}?heartbeat=5,{URL}?heartbeat=6")


def test_tls_is_asked_for_by_the_scheme_by_true_or_by_a_context(env: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain = only(load_settings(**LOGIN))
    assert (plain.scheme, plain.ssl) == ("amqp", None)
    assert only(load_settings(**LOGIN, ssl=False)).ssl is None
    assert only(load_settings(**LOGIN, ssl=True)).scheme == "amqps"
    assert only(load_settings(**LOGIN, ssl=context)).ssl is context
    tls = only(load_settings(url="amqps://u:p@h/"))
    assert (tls.port, tls.ssl) == (5671, True)
    assert only(load_settings(url="amqps://u:p@h/", ssl=context)).ssl is context
    assert str(only(load_settings(url="amqp://u:p@h/", ssl=True))) == "amqps://u@h:5671/"
    env(RABBITMQ_SSL="yes")
    assert only(load_settings(**LOGIN)).ssl is True
    assert "contradicts amqps" in error_of(url="amqps://u:p@h/", ssl=False)
    assert "SSLContext" in error_of(**LOGIN, ssl="maybe")


# ---- secrets


@pytest.mark.parametrize(
    "url",
    [
        f"u:{PASSWORD}@h:5672",
        f"amqp:u:{PASSWORD}@h",
        f"amqp://u:{PASSWORD}/@h/",
        f"amqp://u:/{PASSWORD}@h/",
        f"amqp://u:{PASSWORD}#@h/",
        f"amqp://u:x?{PASSWORD}@h/",
        f"amqp://u:{PASSWORD}@h:port/",
        f"amqp://u:{PASSWORD}@h:99999/",
        f"amqp://u:{PASSWORD}@h h/",
        f"amqp://u:{PASSWORD}[@h/",
        f"amqp://u:{PASSWORD}@[::1/",
        f"amqp://u:{PASSWORD}@h\u2100/",
        f"amqp://u:{PASSWORD}%FF@h/",
        f"amqp://h:{PASSWORD}",
        f"amqp://{PASSWORD}",
        f"amqp://{PASSWORD}@",
        f"amqp://u:{PASSWORD}@h,h2:5672/",
        f"amqp://u:{PASSWORD}@h/?what=1",
        f"amqps://u:{PASSWORD}@h/?cafile=1",
        f"amqps://u:{PASSWORD}@h/?verify=verify_none",
        f"amqp://u:{PASSWORD}@h/?heartbeat=x",
    ],
)
def test_no_error_about_a_url_shows_its_password(url: str, env: Any, caplog: pytest.LogCaptureFixture) -> None:
    env(RABIBRIDGE_URL=url)
    alternatives: list[dict[str, Any]] = [{"url": url}, {"url": [url]}, {}, {"host": url}]
    for arguments in alternatives:
        with pytest.raises(ConfigurationError) as caught:
            load_settings(**arguments)
        assert_hidden(caught.value)
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        {**LOGIN, "url": URL},
        {**LOGIN, "port": 0},
        {**LOGIN, "host": None},
        {**LOGIN, "host": f"u:{PASSWORD}@h"},
        {**LOGIN, "password": PASSWORD.encode()},
        {"url": 5, "password": PASSWORD},
        {"url": f"amqps://u:{PASSWORD}@h", "ssl": False},
        {"url": URL, "serializer": "?"},
    ],
)
def test_no_error_about_arguments_shows_the_password(arguments: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**arguments)
    assert_hidden(caught.value)


def assert_hidden(error: BaseException) -> None:
    """Look into the error, what stands behind it, and the traceback of all."""
    texts = [message.split("\n")[-1] for message in traceback.format_exception(error, chain=True)]
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen), repr(seen.__dict__)]
        seen = seen.__cause__ or seen.__context__
    assert not [text for text in texts if PASSWORD in text]


def test_a_signing_key_that_is_too_short_is_refused_unseen(env: Any) -> None:
    assert len(PASSWORD) < MIN_KEY_SIZE
    env(RABIBRIDGE_SIGNING_KEY=PASSWORD)
    text = error_of(require_broker=False)
    assert "RABIBRIDGE_SIGNING_KEY" in text
    assert f"{MIN_KEY_SIZE} bytes" in text
    assert PASSWORD not in text


def test_no_repr_shows_a_secret(env: Any) -> None:
    env(RABIBRIDGE_SIGNING_KEY=PASSWORD * 3)
    for settings in (
        load_settings(**LOGIN),
        load_settings(url=URL),
        load_settings(**{**LOGIN, "password": Secret("x")}),
    ):
        endpoint = only(settings)
        shown = f"{settings} {settings!r} {endpoint} {endpoint!r} {endpoint.password} {[endpoint.password]}"
        assert PASSWORD not in shown
        assert "%s" % (settings.signing_key,) == "**********"  # noqa: UP031 - loggers format this way


def test_a_secret_is_a_value_that_is_not_pickled() -> None:
    secret = Secret(PASSWORD)
    assert secret == Secret(PASSWORD)
    assert secret != Secret("other")
    assert secret != PASSWORD
    assert len({secret, Secret(PASSWORD)}) == 1
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert not Secret("")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Settings(endpoints=(Endpoint("h", password=secret, scheme="amqp"),)))

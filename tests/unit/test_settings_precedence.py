"""Settings: one order of precedence for all of them."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from rabibridge import RMQClient
from rabibridge.settings import RabbitMQSettings
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Secret, Settings, load_settings
from rabibridge_core.settings.fields import CheckedSettings, rules_of
from rabibridge_core.settings.loading import collect
from rabibridge_core.settings.origins import Rank
from tests.support.secret_frames import secrets_in
from tests.unit.settings_support import error_of, only

pytestmark = pytest.mark.usefixtures("clean_place")

PLACES = ("option", "variable", "profile", "file")
"""Where every setting can be given, in their order."""
_FILES = tuple(str(Path(name).absolute()) for name in ("/a", "/b", "/c", "/d"))
VALUES: dict[str, tuple[object, ...]] = {
    "signing_keys": ("a", "b", "c", "d"),
    "key_ring": ("a", "b", "c", "d"),
    "signing_key_id": ("a", "b", "c", "d"),
    "encryption_key_id": ("a", "b", "c", "d"),
    "require_signature": (True, False, True, False),
    "require_encryption": (True, False, True, False),
    "signature_max_age": (1.5, 2.5, 3.5, 4.5),
    "clock_tolerance": (0.0, 2.5, 3.5, 4.5),
    "replay_capacity": (1, 2, 3, 4),
    "opentelemetry": (True, False, True, False),
    "baggage": (("a",), ("b", "c"), ("d",), ("e",)),
    "serializer": ("json", "pickle", "cloudpickle", "msgpack"),
    "namespace": ("billing", "payroll", "stock", "sales"),
    "call_timeout": (1.5, 2.5, 3.5, 4.5),
    "max_pending": (1, 2, 3, 4),
    "queue_type": ("quorum", "classic", "quorum", "classic"),
    "fetch_size": (7, 8, 9, 10),
    "run_timeout": (1.5, 2.5, 3.5, 4.5),
    "slow_call": (1.5, 2.5, 3.5, 4.5),
    "deadline_admission": (True, False, True, False),
    "remote_traceback": ("none", "message", "user", "full"),
    "control": (True, False, True, False),
    "identify": (True, False, True, False),
    "connect_timeout": (1.5, 2.5, 3.5, 4.5),
    "drain_timeout": (0.0, 2.5, 3.5, 4.5),
    "compress_threshold": (1, 2, 3, 4),
    "max_body": (1024, 1025, 1026, 1027),
    "max_decompressed": (1024, 1025, 1026, 1027),
    "max_decoded": (2**20, 2**21, 2**22, 2**23),
    "any_map_keys": (True, False, True, False),
    "signing_key": ("a" * 16, "b" * 16, "c" * 16, "d" * 16),
    "trust_broker": (True, False, True, False),
    "cid_max": (1024, 1025, 1026, 1027),
    "log_level": ("DEBUG", "ERROR", "CRITICAL", "WARNING"),
    "log_format": ("json", "text", "json", "text"),
    "log_config": ("a", "b", "c", "d"),
    "workers": (1, "auto", 3, 4),
    "start_timeout": (1.5, 2.5, 3.5, 4.5),
    "wait_for_broker": (True, False, True, False),
    "bind_core": (True, False, True, False),
    "loop": ("asyncio", "uvloop", "auto", "asyncio"),
    "max_calls_per_worker": (1, 2, 3, 4),
    "max_memory_per_worker": (2**20, 2**21, 2**22, 2**23),
    "metrics_port": (1, 2, 3, 4),
    "metrics_host": ("::1", "0.0.0.0", "localhost", "192.0.2.1"),
    "tls_ca_file": _FILES,
    "tls_cert_file": _FILES,
    "tls_key_file": _FILES,
    "tls_key_password": ("a", "b", "c", "d"),
    "tls_server_name": ("a", "b", "c", "d"),
    "heartbeat": (1.5, 2.5, 3.5, 4.5),
    "direct_reply": (True, False, True, False),
    "reply_queues": (("a",), ("b", "c"), ("d",), ("e",)),
    "auth_mechanism": ("external", "plain", "external", "plain"),
}


def test_the_table_above_has_every_setting() -> None:
    assert list(VALUES) == [*rules_of(Settings), *rules_of(RabbitMQSettings)]


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int | float) else f'"{_text(value)}"'


@pytest.mark.parametrize("name", VALUES)
def test_the_strongest_place_that_has_it_gives_every_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict(zip(PLACES, VALUES[name], strict=True))
    key = name.upper()
    monkeypatch.setenv("RABIBRIDGE_CONFIG", "named.toml")  # only such a file may decide whom to trust
    monkeypatch.setenv("RABIBRIDGE_PROFILE", "x")
    for size in range(len(PLACES) + 1):
        for given in combinations(PLACES, size):
            monkeypatch.delenv(f"RABIBRIDGE_{key}", raising=False)
            if "variable" in given:
                monkeypatch.setenv(f"RABIBRIDGE_{key}", _text(values["variable"]))
            in_file = f"[app]\n{key} = {_toml(values['file'])}\n" if "file" in given else ""
            in_profile = f"{key} = {_toml(values['profile'])}\n" if "profile" in given else ""
            Path("named.toml").write_text(f"{in_file}[profile.x]\n{in_profile}", encoding="utf-8")
            options = {name: values["option"]} if "option" in given else {}

            settings = load_settings(require_broker=False, options=options)
            holder: CheckedSettings = (
                settings if name in rules_of(Settings) else settings.transport_as(RabbitMQSettings)
            )
            (default,) = (item.default for item in fields(holder) if item.name == name)  # type: ignore[arg-type]
            expected = values[given[0]] if given else default
            found = getattr(holder, name)
            assert (found.reveal() if isinstance(found, Secret) else found) == expected, given
            origins = collect({}, require_broker=False, options=options).given
            assert ([origins[name].rank] if name in origins else []) == [Rank[place.upper()] for place in given[:1]]


@pytest.mark.parametrize(
    ("field", "argument", "variable", "profile", "file"),
    [
        ("host", "a", "b", "c", "d"),
        ("port", 1, 2, 3, 4),
        ("username", "a", "b", "c", "d"),
        ("password", "a", "b", "c", "d"),
        ("virtualhost", "a", "b", "c", "d"),
        ("ssl", True, False, True, False),
    ],
)
def test_the_strongest_place_gives_every_field_of_the_connection(
    field: str, argument: Any, variable: Any, profile: Any, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"RABBITMQ_{field.upper()}"

    def found(**arguments: Any) -> object:
        needed: dict[str, Any] = {"host": "h", "port": 5672, "username": "u", "password": "p"}
        for name in needed:
            if name != field:
                monkeypatch.setenv(f"RABBITMQ_{name.upper()}", str(needed[name]))
        value = getattr(only(load_settings(**arguments)), field)
        return value.reveal() if isinstance(value, Secret) else bool(value) if field == "ssl" else value

    Path("rabibridge.toml").write_text(
        f"[rabbitmq]\n{key} = {_toml(file)}\n[profile.x.rabbitmq]\n{key} = {_toml(profile)}\n", encoding="utf-8"
    )
    assert found() == file
    assert found(profile="x") == profile
    monkeypatch.setenv(key, str(variable))
    assert found(profile="x") == variable
    assert found(profile="x", **{field: argument}) == argument


def test_the_port_of_a_profile_is_stronger_than_that_of_a_host_in_the_file() -> None:
    Path("rabibridge.toml").write_text(
        '[rabbitmq]\nRABBITMQ_HOST = "h:1"\nRABBITMQ_USERNAME = "u"\nRABBITMQ_PASSWORD = "p"\n'
        "[profile.x]\nRABBITMQ_PORT = 2\n",
        encoding="utf-8",
    )
    assert only(load_settings()).port == 1
    assert only(load_settings(profile="x")).port == 2


def test_options_are_named_as_on_the_command_line() -> None:
    text = error_of(require_broker=False, options={"drain_timeout": -1, "max_body": None})
    assert "drain_timeout is -1 (from the option --drain-timeout); allowed: 0 to 86400 seconds" in text
    assert "there is no setting 'drain_timeot': did you mean drain_timeout?" in error_of(
        require_broker=False, options={"drain_timeot": 1}
    )


@pytest.mark.parametrize(
    ("text", "size"), [("8MiB", 8 * 2**20), ("8 mb", 8_000_000), ("512KiB", 2**19), ("2048", 2048)]
)
def test_sizes_may_have_a_suffix(text: str, size: int, env: Any) -> None:
    env(RABIBRIDGE_MAX_BODY=text)
    assert load_settings(require_broker=False).max_body == size


@pytest.mark.parametrize("text", ["8MB2", "MiB", "1e3MB", "8 Mbit", "-1KiB"])
def test_other_suffixes_are_refused(text: str, env: Any) -> None:
    env(RABIBRIDGE_MAX_BODY=text)
    assert f"max_body is {text!r}" in error_of(require_broker=False)


def test_a_client_uses_the_settings_that_it_is_given_and_nothing_else(env: Any) -> None:
    env(RABIBRIDGE_URL="amqp://u:p@elsewhere/", RABIBRIDGE_MAX_BODY="2048")
    settings = load_settings(url="amqp://u:p@h/", options={"max_pending": 7})
    env(RABIBRIDGE_MAX_BODY="4096")
    client = RMQClient(settings=settings)
    assert client.settings is settings
    assert (client.settings.max_body, client.settings.max_pending) == (2048, 7)


@pytest.mark.parametrize("argument", [{"host": "h"}, {"password": "hunter2"}, {"url": "amqp://u:hunter2@h"}])
def test_settings_exclude_the_arguments_of_a_connection(argument: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"leave out {next(iter(argument))}=") as caught:
        RMQClient(settings=load_settings(url="memory://x"), **argument)
    assert not secrets_in(caught.value, "hunter2")

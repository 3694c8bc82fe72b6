"""Settings: what is missing, what is wrong, and how it is told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rabibridge.settings import RabbitMQSettings
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Secret, Settings, load_settings
from tests.support.secret_frames import secrets_in
from tests.unit.settings_support import LOGIN, PASSWORD, URL, broker_file, error_of, only, write_file

pytestmark = pytest.mark.usefixtures("clean_place")


# ---- what is missing, and where to put it


@pytest.mark.parametrize("missing", ["host", "port", "username", "password"])
def test_a_missing_setting_is_named_with_the_three_places(missing: str, tmp_path: Path) -> None:
    text = error_of(**{name: value for name, value in LOGIN.items() if name != missing})
    assert f"argument {missing}=" in text
    assert f"environment variable RABBITMQ_{missing.upper()}" in text
    assert f"RABBITMQ_{missing.upper()} under [rabbitmq]" in text
    for other in LOGIN.keys() - {missing}:
        assert f"argument {other}=" not in text
    for place in ("RABIBRIDGE_CONFIG", "./rabibridge.toml", "./config/env.toml", str(tmp_path)):
        assert place in text


def test_the_file_that_was_read_is_named(tmp_path: Path) -> None:
    write_file('[rabbitmq]\nRABBITMQ_HOST = "h"\n', "config/env.toml")
    text = error_of()
    assert str(tmp_path / "config" / "env.toml") in text
    assert "argument host=" not in text
    assert "argument password=" in text


def test_a_configuration_file_that_is_named_must_exist(env: Any) -> None:
    broker_file()
    env(RABIBRIDGE_CONFIG="nowhere.toml")
    for require_broker in (True, False):
        text = error_of(require_broker=require_broker)
        assert "RABIBRIDGE_CONFIG" in text
        assert "nowhere.toml" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[rabbitmq\n", "line 1"),
        (b"# \xff\n", "UTF-8"),
        (b"RABBITMQ_PORT = 5672\n", "RABBITMQ_PORT outside a table"),
        (b"[rabbitmq]\nRABBITMQ_PASSWORD = 1234\n", "in quotes"),
    ],
)
def test_a_broken_configuration_file_is_named_with_its_fault(content: bytes, expected: str) -> None:
    Path("rabibridge.toml").write_bytes(content)
    text = error_of()
    assert expected in text
    assert "rabibridge.toml" in text
    assert "1234" not in text


@pytest.mark.parametrize("url", ["amqp://h/", "amqp://u@h/", "amqp://u:@h/", "amqp://:p@h/", f"{URL},amqp://h2/"])
def test_a_url_without_credentials_is_refused(url: str, env: Any) -> None:
    env(RABBITMQ_USERNAME="u", RABBITMQ_PASSWORD="p")
    assert "no user name and password" in error_of(url=url)
    env(RABIBRIDGE_URL=url)
    text = error_of()
    assert "RABIBRIDGE_URL" in text
    assert "username=" in text


def test_without_need_of_a_broker_missing_settings_are_fine_and_wrong_ones_are_not() -> None:
    assert load_settings(require_broker=False) == Settings(transport=RabbitMQSettings())
    assert load_settings(require_broker=False, host="h").endpoints == ()
    assert load_settings(require_broker=False, url="amqp://h").endpoints == ()
    assert only(load_settings(require_broker=False, **LOGIN)).host == "h"
    assert "65536" in error_of(require_broker=False, port=65536)


def test_an_encrypted_password_of_an_old_file_is_explained(env: Any) -> None:
    broker_file(more='[secret]\nSECRET = "old-secret"\n')
    text = error_of()
    assert "[secret] SECRET" in text
    assert "environment variable RABBITMQ_PASSWORD" in text
    assert load_settings(require_broker=False).endpoints == ()
    env(RABBITMQ_PASSWORD="plain")
    assert only(load_settings()).password == Secret("plain")


# ---- ranges


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("cid_max", "10", "1024 to"),
        ("compress_threshold", "-1", "0 to"),
        ("compress_threshold", "1.5", "bytes"),
        ("serializer", "a b", "msgpack"),
        ("log_level", "LOUD", "DEBUG"),
        ("max_body", "1000000000", "536870912"),
        ("heartbeat", "nan", "65535 seconds"),
        ("connect_timeout", "0", "seconds"),
        ("drain_timeout", "inf", "seconds"),
        ("trust_broker", "perhaps", "true or false"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range_and_its_source(
    name: str, value: str, allowed: str, env: Any
) -> None:
    env(**{f"RABIBRIDGE_{name.upper()}": value})
    text = error_of(require_broker=False)
    for part in (name, repr(value), f"RABIBRIDGE_{name.upper()}", allowed):
        assert part in text
    Path("rabibridge.toml").write_text(f'[app]\n{name.upper()} = "{value}"')
    os.environ.pop(f"RABIBRIDGE_{name.upper()}")
    assert "rabibridge.toml" in error_of(require_broker=False)


def test_settings_made_by_hand_are_checked_too() -> None:
    assert RabbitMQSettings(heartbeat=5).heartbeat == 5.0
    with pytest.raises(ConfigurationError, match="heartbeat is 0"):
        replace(RabbitMQSettings(), heartbeat=0)
    with pytest.raises(ConfigurationError, match="cid_max is True"):
        Settings(cid_max=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": f"amqp://guest:{PASSWORD}@host:port/"},
        {"url": [URL, f"amqp://guest:{PASSWORD}@host/?heartbeat=never"]},
        {**LOGIN, "host": "a b"},
        {"url": URL, "serializer": ""},
    ],
    ids=["port", "parameter", "host", "serializer"],
)
def test_no_frame_that_an_error_carries_shows_the_password(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as found:
        load_settings(**wrong)
    assert not secrets_in(found.value, PASSWORD)

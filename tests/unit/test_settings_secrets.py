"""Settings: secrets in files of their own, as Docker and Kubernetes mount them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Secret, load_settings
from tests.support.secret_frames import secrets_in
from tests.unit.settings_support import PASSWORD, broker_file, error_of, only, write_file

pytestmark = pytest.mark.usefixtures("clean_place")
BROKER = {"RABBITMQ_HOST": "h", "RABBITMQ_PORT": "5672", "RABBITMQ_USERNAME": "u"}


@pytest.mark.parametrize("variable", ["RABIBRIDGE_PASSWORD_FILE", "RABBITMQ_PASSWORD_FILE"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["none", "LF", "CRLF"])
def test_the_password_comes_from_a_file_without_the_line_break_at_its_end(variable: str, end: str, env: Any) -> None:
    Path("secret").write_bytes(f" {PASSWORD} ä\n\n{end}".encode())
    env(**BROKER, **{variable: "secret"})
    password = only(load_settings()).password.reveal()
    assert password == f" {PASSWORD} ä\n\n"[: None if end else -1]


def test_the_signing_key_comes_from_a_file(env: Any) -> None:
    Path("key").write_text("k" * 16 + "\n")
    env(RABIBRIDGE_SIGNING_KEY_FILE="key")
    assert load_settings(require_broker=False).signing_key == Secret("k" * 16)
    Path("key").write_text("short\n")
    text = error_of(require_broker=False)
    assert "from the file key, which the environment variable RABIBRIDGE_SIGNING_KEY_FILE names" in text
    assert "short" not in text


def test_keys_of_the_file_name_files_too_and_variables_take_precedence(env: Any) -> None:
    Path("password").write_text("from-key")
    Path("key").write_text("k" * 16)
    write_file(
        '[rabbitmq]\nRABBITMQ_HOST = "h"\nRABBITMQ_PORT = 1\nRABBITMQ_USERNAME = "u"\n'
        'RABBITMQ_PASSWORD_FILE = "password"\n[app]\nSIGNING_KEY_FILE = "key"\n'
    )
    env(RABIBRIDGE_CONFIG="rabibridge.toml")
    settings = load_settings()
    assert (only(settings).password, settings.signing_key) == (Secret("from-key"), Secret("k" * 16))
    env(RABBITMQ_PASSWORD="from-variable", RABIBRIDGE_SIGNING_KEY="v" * 16)
    settings = load_settings()
    assert (only(settings).password, settings.signing_key) == (Secret("from-variable"), Secret("v" * 16))


def test_a_secret_in_a_file_takes_precedence_over_the_configuration_file(env: Any) -> None:
    broker_file()
    Path("secret").write_text("from-secret")
    env(RABIBRIDGE_PASSWORD_FILE="secret")
    assert only(load_settings()).password == Secret("from-secret")
    assert only(load_settings(password="from-argument")).password == Secret("from-argument")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RABBITMQ_PASSWORD", "RABIBRIDGE_PASSWORD_FILE"),
        ("RABBITMQ_PASSWORD", "RABBITMQ_PASSWORD_FILE"),
        ("RABBITMQ_PASSWORD_FILE", "RABIBRIDGE_PASSWORD_FILE"),
        ("RABIBRIDGE_SIGNING_KEY", "RABIBRIDGE_SIGNING_KEY_FILE"),
    ],
)
def test_one_place_has_a_secret_in_one_form(one: str, other: str, env: Any) -> None:
    Path("secret").write_text("s" * 16)
    env(**BROKER, **{one: "secret", other: "secret"})
    assert f"the environment variable {one} and the environment variable {other} contradict each other" in error_of()


def test_the_file_completes_urls_that_have_no_password(env: Any) -> None:
    Path("secret").write_text("p@ss")
    env(RABIBRIDGE_PASSWORD_FILE="secret", RABIBRIDGE_URL="amqp://u@one/,amqp://u@two/")
    assert [endpoint.password.reveal() for endpoint in load_settings().endpoints] == ["p@ss", "p@ss"]
    assert only(load_settings(url="amqp://u@h/")).password == Secret("p@ss")
    assert only(load_settings(url="amqp://u:own@h/")).password == Secret("own")
    assert only(load_settings(url="memory://x")).password == Secret("")
    env(RABIBRIDGE_URL="amqp://u:own@h/")
    text = error_of()
    assert "RABIBRIDGE_URL has a password" in text
    assert "RABIBRIDGE_PASSWORD_FILE" in text
    env(RABIBRIDGE_URL="", CLOUDAMQP_URL="amqp://u@cloud/")
    assert only(load_settings()).password == Secret("p@ss")


def test_the_variable_of_one_transport_does_not_complete_urls(env: Any) -> None:
    Path("secret").write_text("p")
    env(RABBITMQ_PASSWORD_FILE="secret", RABIBRIDGE_URL="amqp://u@h/")
    assert "in a file that RABIBRIDGE_PASSWORD_FILE names" in error_of()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 65537, "holds more than 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_with_its_fault(content: bytes | None, problem: str, env: Any) -> None:
    if content is not None:
        Path("secret").write_bytes(content)
    env(**BROKER, RABIBRIDGE_PASSWORD_FILE="secret")
    text = error_of()
    assert f"the file 'secret', which the environment variable RABIBRIDGE_PASSWORD_FILE names, {problem}" in text


@pytest.mark.parametrize("name", ["x" * 5000, "secret/secret"])
def test_a_name_that_the_system_refuses_is_told_like_any_other(name: str, env: Any) -> None:
    Path("secret").write_text(PASSWORD)
    env(**BROKER, RABIBRIDGE_PASSWORD_FILE=name)
    assert "RABIBRIDGE_PASSWORD_FILE names, cannot be read: " in error_of()


def test_a_folder_is_no_secret(env: Any) -> None:
    env(**BROKER, RABIBRIDGE_PASSWORD_FILE=".")
    assert "is a folder" in error_of()


@pytest.mark.skipif(os.name != "posix", reason="files have a mode on POSIX only")
def test_a_secret_that_everybody_may_write_is_refused(env: Any) -> None:
    Path("secret").write_text(PASSWORD)
    Path("secret").chmod(0o666)
    env(**BROKER, RABIBRIDGE_PASSWORD_FILE="secret")
    assert "may be written by others" in error_of()
    Path("secret").chmod(0o644)
    load_settings()


def test_no_frame_and_no_text_of_an_error_shows_a_secret(env: Any) -> None:
    Path("secret").write_text(f"{PASSWORD}\n{PASSWORD}")
    env(**BROKER, RABIBRIDGE_PASSWORD_FILE="secret", RABIBRIDGE_MAX_BODY="0", RABIBRIDGE_SIGNING_KEY=PASSWORD[:8])
    with pytest.raises(ConfigurationError) as found:
        load_settings()
    assert not secrets_in(found.value, PASSWORD[:8])
    assert "2 faults" in str(found.value)

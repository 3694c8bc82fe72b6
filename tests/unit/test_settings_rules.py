"""Configuration is checked by one rule, wherever a setting comes from.

A blank text is not set in a variable and in the file, and an error as an argument. What cannot be used is refused when
a client or server is made, by the name of the setting. What decides about trust, hosts and secrets comes only from
places that nobody else may write.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from rabibridge import RMQClient
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import load_settings
from tests.unit.settings_support import LOGIN, URL, broker_file, error_of, only, write_file

pytestmark = pytest.mark.usefixtures("clean_place")
posix_only = pytest.mark.skipif(os.name != "posix", reason="files have an owner and a mode on POSIX only")
FILE = "rabibridge.toml"


# ---- one rule for all places


@pytest.mark.parametrize("blank", ["", " ", " \t "])
@pytest.mark.parametrize(
    "name", ["CALL_TIMEOUT", "MAX_BODY", "SERIALIZER", "SIGNING_KEY", "TRUST_BROKER", "QUEUE_TYPE"]
)
def test_a_blank_setting_is_not_set_in_the_file_as_in_the_environment(name: str, blank: str, env: Any) -> None:
    expected = load_settings(require_broker=False)
    write_file(f"[app]\n{name} = '{blank}'\n")
    assert load_settings(require_broker=False) == expected
    write_file("")
    env(**{f"RABIBRIDGE_{name}": blank})
    assert load_settings(require_broker=False) == expected


@pytest.mark.parametrize("name", ["host", "username", "password", "virtualhost", "url", "serializer"])
def test_a_blank_argument_is_an_error(name: str) -> None:
    for blank in ("", "  "):
        assert f"the argument {name}= is empty" in error_of(**{name: blank})


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "ä" * 128, "\udc80", 5, b"n"])
def test_a_name_that_no_broker_would_take_is_refused_at_once(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="the argument name="):
        RMQClient(url="memory://x", name=name)
    assert RMQClient(url="memory://x", name="ä" * 127).name == "ä" * 127


@pytest.mark.parametrize("virtualhost", ["v" * 256, "ä" * 128])
def test_a_virtual_host_that_amqp_cannot_carry_is_refused_at_once(virtualhost: str, env: Any) -> None:
    assert "virtualhost is" in error_of(**LOGIN, virtualhost=virtualhost)
    assert "virtualhost is" in error_of(url=URL + virtualhost)
    env(RABBITMQ_VIRTUALHOST=virtualhost)
    assert "RABBITMQ_VIRTUALHOST" in error_of(**LOGIN)


@pytest.mark.parametrize("host", ["x" * 64, "no..dots", ".".join(["x" * 60] * 5)])
def test_a_host_that_no_name_server_knows_is_refused_at_once(host: str) -> None:
    assert "looked up" in error_of(**{**LOGIN, "host": host})
    assert "looked up" in error_of(url=f"amqp://u:p@{host}/")


@pytest.mark.parametrize("name", ["username", "password", "virtualhost"])
def test_bytes_that_are_not_utf_8_are_refused_and_not_dropped(name: str, env: Any) -> None:
    assert f"{name} is not valid UTF-8" in error_of(**{**LOGIN, name: "se\udce9cret"})
    broker_file()
    env(**{f"RABBITMQ_{name.upper()}": "se\udce9cret"})
    text = error_of()
    assert f"{name} is not valid UTF-8" in text
    assert f"RABBITMQ_{name.upper()}" in text
    assert "cret" not in text


def test_a_url_with_bytes_that_are_not_utf_8_is_refused(env: Any) -> None:
    env(RABIBRIDGE_URL="amqp://u:p\udce9@h/")
    assert "RABIBRIDGE_URL" in error_of()


# ---- the file


def test_a_byte_order_mark_is_no_part_of_the_file() -> None:
    broker_file()
    Path(FILE).write_bytes(b"\xef\xbb\xbf" + Path(FILE).read_bytes())
    assert only(load_settings()).host == "file-host"


def test_a_folder_is_not_taken_for_a_file_that_does_not_exist(env: Any, tmp_path: Path) -> None:
    env(RABIBRIDGE_CONFIG=str(tmp_path))
    assert "is a folder" in error_of()


def test_one_line_of_the_log_says_which_file_was_read(caplog: pytest.LogCaptureFixture) -> None:
    broker_file()
    with caplog.at_level(logging.INFO):
        load_settings()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert line == f"The configuration file {Path(FILE).absolute()} was read"


def test_looking_for_a_file_can_be_switched_off(env: Any) -> None:
    broker_file()
    env(RABIBRIDGE_CONFIG="none")
    assert "No configuration file was looked for" in error_of()


@posix_only
@pytest.mark.parametrize("mode", [0o666, 0o622])
def test_a_file_that_everybody_may_write_is_not_read(mode: int, env: Any, caplog: pytest.LogCaptureFixture) -> None:
    broker_file()
    Path(FILE).chmod(mode)
    assert "no host" in error_of()
    assert "may be written by others" in caplog.text
    env(RABIBRIDGE_CONFIG=FILE)
    assert "may be written by others" in error_of()


@posix_only
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_read_only_if_it_is_named(env: Any, caplog: pytest.LogCaptureFixture) -> None:
    broker_file()
    os.chown(FILE, 12345, 12345)
    assert "no host" in error_of()
    assert "belongs to another user (number 12345)" in caplog.text
    env(RABIBRIDGE_CONFIG=FILE)
    assert only(load_settings()).host == "file-host"


def test_a_file_that_was_not_named_cannot_declare_the_broker_trusted(env: Any) -> None:
    write_file("[app]\nTRUST_BROKER = true\n")
    text = error_of(require_broker=False)
    assert "TRUST_BROKER under [app]" in text
    assert "RABIBRIDGE_CONFIG" in text
    env(RABIBRIDGE_CONFIG=FILE)
    assert load_settings(require_broker=False).trust_broker is True
    env(RABIBRIDGE_CONFIG="", RABIBRIDGE_TRUST_BROKER="no")
    assert load_settings(require_broker=False).trust_broker is False


@pytest.mark.parametrize(
    ("table", "key"),
    [("app", "LOG_CONFIG"), ("app", "SIGNING_KEY_FILE"), ("rabbitmq", "RABBITMQ_PASSWORD_FILE")],
)
def test_a_file_that_was_not_named_cannot_name_further_files(table: str, key: str, env: Any, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("k" * 16)
    write_file(f'[{table}]\n{key} = "private"\n')
    text = error_of(require_broker=False)
    assert f"{key} under [{table}]" in text
    assert "is not accepted" in text
    env(RABIBRIDGE_CONFIG=FILE)
    load_settings(require_broker=False)

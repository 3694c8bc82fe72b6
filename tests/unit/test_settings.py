"""Settings: where each one comes from."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.settings import Secret, load_settings
from tests.unit.settings_support import LOGIN, URL, broker_file, error_of, hosts, only, write_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("clean_place")


# ---- precedence


@pytest.mark.parametrize(
    ("field", "argument", "variable", "from_file"),
    [
        ("host", "arg-host", "env-host", "file-host"),
        ("port", 1001, "1002", 1003),
        ("username", "arg-user", "env-user", "file-user"),
        ("password", "arg-pass", "env-pass", "file-pass"),
    ],
)
def test_each_field_is_taken_from_the_strongest_place_that_has_it(
    field: str, argument: object, variable: str, from_file: object, env: Any
) -> None:
    def value(**arguments: Any) -> object:
        found = getattr(only(load_settings(**arguments)), field)
        return found.reveal() if isinstance(found, Secret) else found

    broker_file()
    assert value() == from_file
    env(**{f"RABBITMQ_{field.upper()}": variable})
    assert value() == (int(variable) if field == "port" else variable)
    assert value(**{field: argument}) == argument


@pytest.mark.parametrize("spelling", ["SERIALISER", "SERIALIZER"])
def test_application_settings_follow_the_same_order(spelling: str, env: Any) -> None:
    assert load_settings(require_broker=False).serializer == "msgpack"
    write_file(f'[app]\n{spelling} = "JSON"\nCOMPRESS_THRESHOLD = 5\nCID_MAX = 5000\nLOG_LEVEL = "info"')
    settings = load_settings(require_broker=False)
    assert (settings.serializer, settings.compress_threshold, settings.cid_max) == ("json", 5, 5000)
    assert settings.log_level == "INFO"
    env(**{f"RABIBRIDGE_{spelling}": "pickle", "RABIBRIDGE_COMPRESS_THRESHOLD": "7", "RABIBRIDGE_DRAIN_TIMEOUT": "1.5"})
    settings = load_settings(require_broker=False)
    assert (settings.serializer, settings.compress_threshold, settings.drain_timeout) == ("pickle", 7, 1.5)
    assert settings.cid_max == 5000
    assert load_settings(serializer="cloudpickle", require_broker=False).serializer == "cloudpickle"


def test_the_first_configuration_file_that_exists_is_read(env: Any, tmp_path: Path) -> None:
    broker_file("third", "config/env.toml")
    assert only(load_settings()).host == "third"
    broker_file("second", "rabibridge.toml")
    assert only(load_settings()).host == "second"
    broker_file("first", "elsewhere/named.toml")
    env(RABIBRIDGE_CONFIG=str(tmp_path / "elsewhere" / "named.toml"))
    assert only(load_settings()).host == "first"


def test_urls_come_before_single_variables_and_the_cloud_url_comes_last(env: Any) -> None:
    env(CLOUDAMQP_URL="amqps://c:c@cloud/cloud-vhost")
    assert str(only(load_settings())) == "amqps://c@cloud:5671/cloud-vhost"
    broker_file()
    assert only(load_settings()).host == "file-host"
    env(RABIBRIDGE_URL="amqp://e:e@env-url/")
    env(RABBITMQ_HOST="ignored", RABBITMQ_VIRTUALHOST="ignored")
    assert str(only(load_settings())) == "amqp://e@env-url:5672/"
    assert only(load_settings(url="amqp://a:a@arg-url/")).host == "arg-url"


def test_arguments_replace_the_parts_of_a_url_from_the_environment(env: Any) -> None:
    env(RABIBRIDGE_URL="amqp://e:e@one:1111/v,amqp://e:e@two:1111/v")
    assert hosts(load_settings(port=2222)) == [("one", 2222), ("two", 2222)]
    assert hosts(load_settings(host="three,four:4")) == [("three", 1111), ("four", 4)]
    endpoint = load_settings(username="a", password="p", virtualhost="w").endpoints[1]
    assert str(endpoint) == "amqp://a@two:1111/w"
    assert endpoint.password == Secret("p")


def test_arguments_can_complete_a_url_from_the_environment(env: Any) -> None:
    env(RABIBRIDGE_URL="amqp://one/v")
    assert str(only(load_settings(username="a", password="p"))) == "amqp://a@one:5672/v"


def test_hosts_do_not_replace_those_of_urls_that_differ_otherwise(env: Any) -> None:
    env(RABIBRIDGE_URL="amqp://e:e@one:1111/v,amqp://e:e@two:2222/v")
    text = error_of(host="three")
    assert "host=" in text
    assert "RABIBRIDGE_URL" in text


@pytest.mark.parametrize("field", ["host", "port", "username", "password"])
def test_a_url_argument_excludes_the_single_arguments(field: str) -> None:
    text = error_of(url=URL, **{field: LOGIN[field]})
    assert "url=" in text
    assert f"{field}=" in text
    assert "contradict" in text


def test_a_virtualhost_argument_completes_a_url_argument_but_does_not_contradict_it() -> None:
    assert only(load_settings(url=URL, virtualhost="v")).virtualhost == "v"
    assert only(load_settings(url=URL + "v", virtualhost="v")).virtualhost == "v"
    assert "virtualhost=" in error_of(url=URL + "w", virtualhost="v")


def test_empty_variables_and_keys_count_as_not_set(env: Any) -> None:
    broker_file(more='RABBITMQ_VIRTUALHOST = ""\n')
    env(RABIBRIDGE_URL="", RABBITMQ_HOST="", RABBITMQ_PORT=" ", RABIBRIDGE_CONFIG="", RABIBRIDGE_HEARTBEAT="")
    assert str(only(load_settings())) == "amqp://file-user@file-host:1003/"


# ---- import


def test_import_reads_nothing_and_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "rabibridge.toml").write_text("not toml")
    code = (
        "import sys, rabibridge_core.settings\n"
        "heavy = {'pydantic', 'pydantic_settings', 'ssl', 'tomllib', 'asyncio', 'aio_pika'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RABIBRIDGE_CONFIG": "nowhere.toml"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path, timeout=60)

"""``rabibridge config show`` and ``rabibridge config check``: what they print, and each way to be wrong."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

PASSWORD = "hunter2-s3cr3t"
FILE = """
[rabbitmq]
RABBITMQ_HOST = "rabbit-1.example,rabbit-2.example"
RABBITMQ_PORT = 5672
RABBITMQ_USERNAME = "calls"

[app]
MAX_PENDING = 1000

[profile.staging]
RABBITMQ_HOST = "staging.example"
MAX_BODY = "4MiB"
"""
FAULTY = """
[rabbitmq]
RABBITMQ_HOTS = "rabbit-1.example"
RABBITMQ_PORT = 99999
RABBITMQ_PASSWORD = "hunter2-s3cr3t"

[app]
call_timeout = 5
SIGNING_KEY = "hunter2"

[apps]

[profile.staging.app]
MAX_BODY = 1

[profile.local]
LOG_LEVEL = "LOUD"
"""


class Config:
    """The command in a folder of its own, without a broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str, name: str = "rabibridge.toml") -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        prefixes = ("RABIBRIDGE_", "RABBITMQ_", "CLOUDAMQP_", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
        return fork_server.run(
            server_of_commands,
            ["-m", "rabibridge", *arguments],
            cwd=self.folder,
            env=kept | variables,
            text=True,
            timeout=180,
        )

    def json(self, *arguments: str, **variables: str) -> Any:
        return json.loads(self(*arguments, "--json", **variables).stdout)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


def _row(output: str, name: str) -> list[str]:
    (line,) = [line for line in output.splitlines() if line.split()[:1] == [name]]
    return line.rstrip().split(maxsplit=2)[1:]


def test_show_prints_every_value_with_its_place_and_no_secret(config: Config) -> None:
    config.write(FILE)
    done = config("--profile", "staging", "config", "show", RABBITMQ_PASSWORD=PASSWORD, RABIBRIDGE_DRAIN_TIMEOUT="8")
    assert done.returncode == 0
    assert done.stderr == ""
    output = done.stdout
    assert "broker:  amqp://calls@staging.example:5672/" in output
    assert str(config.folder / "rabibridge.toml") in output
    assert _row(output, "host") == ["staging.example", "[profile.staging], line 11"]
    assert _row(output, "username") == ["calls", "[rabbitmq], line 5"]
    assert _row(output, "password") == ["**********", "RABBITMQ_PASSWORD"]
    assert _row(output, "max_body") == [str(4 * 2**20), "[profile.staging], line 12"]
    assert _row(output, "max_pending") == ["1000", "[app], line 8"]
    assert _row(output, "drain_timeout") == ["8.0", "RABIBRIDGE_DRAIN_TIMEOUT"]
    assert _row(output, "log_level") == ["INFO", "default"]
    assert PASSWORD not in done.stdout
    assert "\x1b" not in done.stdout, "a pipe gets no colour"


def test_show_as_json_tells_the_same(config: Config) -> None:
    config.write(FILE)
    (config.folder / "password").write_text(PASSWORD)
    found = config.json("config", "show", "--set", RABIBRIDGE_PASSWORD_FILE="password", RABIBRIDGE_MAX_BDOY="1")
    assert found["file"] == str(config.folder / "rabibridge.toml")
    assert found["profile"] is None
    assert found["brokers"] == [f"amqp://calls@rabbit-{number}.example:5672/" for number in (1, 2)]
    assert found["faults"] == []
    assert "did you mean RABIBRIDGE_MAX_BODY?" in found["warnings"][0]
    assert list(found["settings"]) == ["host", "port", "username", "password", "max_pending"]
    assert found["settings"]["max_pending"] == {
        "value": 1000,
        "from": {"place": "file", "name": "MAX_PENDING", "table": "app", "line": 8, "file": found["file"]},
    }
    assert found["settings"]["password"] == {
        "value": "**********",
        "from": {"place": "variable", "name": "RABIBRIDGE_PASSWORD_FILE", "secret_file": "password"},
    }


def test_show_hides_the_secrets_of_urls(config: Config) -> None:
    url = f"amqp://calls:{PASSWORD}@rabbit-1.example?heartbeat=5"
    done = config("config", "show", "--set", RABIBRIDGE_URL=url, RABIBRIDGE_SIGNING_KEY=PASSWORD * 2)
    assert _row(done.stdout, "url") == ["amqp://calls@rabbit-1.example:5672/", "RABIBRIDGE_URL"]
    assert _row(done.stdout, "heartbeat") == ["5.0", "RABIBRIDGE_URL, parameter heartbeat"]
    assert _row(done.stdout, "signing_key")[0] == "**********"
    assert PASSWORD not in done.stdout + done.stderr


def test_show_prints_what_it_can_and_then_every_fault(config: Config) -> None:
    config.write("[app]\nMAX_BODY = 1\nMAX_PENDING = 5\nMAX_BDY = 1\n")
    done = config("config", "show")
    assert done.returncode == 3
    assert _row(done.stdout, "max_pending") == ["5", "[app], line 3"]
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: unknown key MAX_BDY under [app] in {config.folder}/rabibridge.toml, line 4: did you mean MAX_BODY?",
        done.stderr.splitlines()[1],
        f"error: max_body is 1 (from MAX_BODY under [app] in {config.folder}/rabibridge.toml, line 2); allowed: a "
        "whole number from 1024 to 536870912 (bytes)",
    ]
    assert "there is no host, port, username, password" in done.stderr.splitlines()[1]


def test_show_leaves_out_a_connection_that_it_cannot_tell(config: Config) -> None:
    for variables in (
        {"RABBITMQ_HOST": "h", "RABBITMQ_PORT": "x"},
        {"RABIBRIDGE_URL": f"amqp://u:{PASSWORD}@h:x/"},
    ):
        done = config("config", "show", **variables)
        assert done.returncode == 3
        assert not [line for line in done.stdout.splitlines() if line.split()[:1] in (["host"], ["url"], ["broker:"])]
        assert PASSWORD not in done.stdout + done.stderr


def test_show_finds_what_only_a_client_would_find(config: Config) -> None:
    done = config("config", "show", RABIBRIDGE_URL="amqp://u:p@h", RABIBRIDGE_SERIALIZER="pickle")
    assert done.returncode == 3
    assert "RABIBRIDGE_SIGNING_KEY" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "x", "config", "show"], "there is no profile 'x'"),
        (["--config", "nowhere.toml", "config", "show"], "'nowhere.toml', which does not exist"),
        (["--config", "nowhere.toml", "config", "check"], "'nowhere.toml', which does not exist"),
        (["config", "check", "nowhere.toml"], "nowhere.toml does not exist"),
        (["config", "check", "."], "is a folder"),
        (["config", "check", "broken.toml"], "is not valid TOML: "),
        (["config", "check", "writable.toml"], "may be written by others"),
        (["config", "check"], "there is no host, port, username, password"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_read_is_one_error_with_status_3(config: Config, arguments: list[str], told: str) -> None:
    config.write("[app\n", "broken.toml")
    config.write("", "writable.toml")
    (config.folder / "writable.toml").chmod(0o666)
    done = config(*arguments)
    assert done.returncode == 3
    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_check_tells_every_fault_of_a_file_and_of_its_profiles(config: Config) -> None:
    config.write(FAULTY, "faulty.toml")
    done = config("config", "check", "faulty.toml", RABIBRIDGE_MAX_BODY="nonsense of the environment")
    assert done.returncode == 3
    faults = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in faults)
    for part in (
        "unknown table [apps] in",
        "unknown key RABBITMQ_HOTS under [rabbitmq] in",
        "line 3: did you mean RABBITMQ_HOST?",
        "port is 99999 (from RABBITMQ_PORT under [rabbitmq] in",
        "line 8: did you mean CALL_TIMEOUT?",
        "signing_key is not valid (from SIGNING_KEY under [app] in",
        "max_body is 1 (from MAX_BODY under [profile.staging.app] in",
        "log_level is 'LOUD' (from LOG_LEVEL under [profile.local] in",
    ):
        assert sum(part in line for line in faults) == 1, part
    assert len(faults) == 7
    assert "hunter2" not in done.stderr
    assert config.json("config", "check", "faulty.toml")["faults"] == [line.removeprefix("error: ") for line in faults]


def test_check_of_a_good_file_names_its_profiles(config: Config) -> None:
    config.write(FILE + '[profile.local]\nRABBITMQ_PASSWORD_FILE = "not here"\n')
    done = config("config", "check", "rabibridge.toml")
    assert done.returncode == 0
    assert done.stdout == f"{config.folder / 'rabibridge.toml'}: no faults; profiles: staging, local\n"
    assert done.stderr.startswith("warning: RABBITMQ_PASSWORD_FILE under [profile.local]")
    assert config("config", "check", RABBITMQ_PASSWORD="p").returncode == 0


def test_check_of_a_file_of_version_0(config: Config) -> None:
    old = '[rabbitmq]\nRABBITMQ_HOST = "h"\nRABBITMQ_PASSWORD = "x"\n[app]\nDEBUG_MODE = false\n'
    config.write(old, "config/env.toml")
    assert config("config", "check", "config/env.toml").returncode == 0
    config.write(f'{old}[secret]\nSECRET = "s"\n', "config/env.toml")
    done = config("config", "check", "config/env.toml")
    assert done.returncode == 3
    assert "It cannot be decrypted with that secret" in done.stderr


@pytest.mark.parametrize("arguments", [["config"], ["config", "shwo"], ["config", "show", "--sett"]])
def test_a_wrong_command_line_has_status_2(config: Config, arguments: list[str]) -> None:
    done = config(*arguments)
    assert done.returncode == 2
    assert "Usage: rabibridge config" in done.stderr

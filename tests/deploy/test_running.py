"""The example deployment, as far as it runs without its platforms: a worker and a gateway with the users it defines."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from rabibridge_testing._servers.ports import free_ports
from tests.deploy.test_files import DEPLOY, compose
from tools.broker import GivenBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.broker import Broker

BIN = Path(sys.executable).parent


@contextmanager
def running(arguments: list[str], until: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of the environment in the folder of the example, from when it has said ``until``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABIBRIDGE_", "RABBITMQ_"))}
    with subprocess.Popen(
        [str(BIN / arguments[0]), *arguments[1:]],
        cwd=DEPLOY / "app",
        env=kept | {"PYTHONDONTWRITEBYTECODE": "1"} | variables,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        heard = []
        for line in process.stderr:
            heard.append(line)
            if until in line:
                break
        else:
            pytest.fail("".join(heard))
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=60)
        # uvicorn ends by the signal that it got
        assert process.returncode in {0, -signal.SIGTERM}, "".join(heard) + rest


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_defined_users_serve_and_call_through_the_gateway(rabbitmq: Broker, tmp_path: Path) -> None:
    if isinstance(rabbitmq, GivenBroker):
        pytest.skip("users are defined on a node of our own")
    rabbitmq.ctl("import_definitions", str(DEPLOY / "rabbitmq/definitions.json"))
    try:
        password = tmp_path / "password"
        password.write_text("a password of this test")
        password.chmod(0o600)
        for user in ("server", "caller"):
            rabbitmq.ctl("change_password", user, password.read_text())
        at = URL(rabbitmq.url)
        connection = {
            "RABBITMQ_HOST": str(at.host),
            "RABBITMQ_PORT": str(at.port),
            "RABBITMQ_VIRTUALHOST": "calls",
            "RABIBRIDGE_PASSWORD_FILE": str(password),
        }
        services = compose()["services"]
        [port] = free_ports(1)
        metrics = str(free_ports(1)[0])
        worker = ["rabibridge", *(metrics if word == "9464" else word for word in services["worker"]["command"])]
        gateway = [*services["gateway"]["entrypoint"][:2], "--port", str(port)]
        with ExitStack() as stack:
            stack.enter_context(running(worker, "serves", RABBITMQ_USERNAME="server", **connection))
            stack.enter_context(running(gateway, "running on", RABBITMQ_USERNAME="caller", **connection))

            assert get(port, "/readyz")[0] == 200
            assert get(port, "/add?a=2&b=40") == (200, {"sum": 42})
            assert get(port, "/add?a=2")[0] == 422
    finally:
        rabbitmq.ctl("delete_vhost", "calls")
        for user in ("server", "caller"):
            rabbitmq.ctl("delete_user", user)


def test_the_unit_starts_what_the_example_runs() -> None:
    unit = (DEPLOY / "systemd/rabibridge.service").read_text()
    started = next(line for line in unit.splitlines() if line.startswith("ExecStart="))

    assert shlex.split(started.partition("=")[2])[1:3] == ["run", "services.py"]

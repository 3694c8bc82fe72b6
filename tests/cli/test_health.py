from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from tests.cli.conftest import Command

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_testing._servers.base import Broker


def test_workers_that_receive_calls_are_ready(worker: Command) -> None:
    for arguments in ([], ["--here"]):
        done = worker("health", *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(": ready\n")

    told = json.loads(worker("health", "--json").stdout)["workers"]
    assert [one["ready"] for one in told] == [True]


def test_nobody_on_that_machine(worker: Command) -> None:
    done = worker("health", "--host", "elsewhere", "--timeout", "1")

    assert done.returncode == 7
    assert done.stderr == "error: no worker on 'elsewhere' has answered within 1 s\n"


def test_a_worker_that_stands_still_does_not_answer(rabbitmq: Broker, tmp_path: Path) -> None:
    command = Command(rabbitmq.fresh_vhost(), tmp_path)
    (tmp_path / "services.py").write_text(
        "from rabibridge import register_call\n\n@register_call\nasync def a(): ...\n"
    )
    with command.serving("services.py") as process:
        process.send_signal(signal.SIGSTOP)
        done = command("health", "--timeout", "1")

    assert done.returncode == 7


def test_a_broker_that_is_away(tmp_path: Path) -> None:
    command = Command("amqp://guest:guest@127.0.0.1:1/", tmp_path)
    done = command("health", RABIBRIDGE_CONNECT_TIMEOUT="0.5")

    assert done.returncode == 4


def test_here_and_a_host(worker: Command) -> None:
    assert worker("health", "--here", "--host", "x").returncode == 2

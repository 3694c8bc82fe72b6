"""``rabibridge services``, ``workers`` and ``ping WORKER`` beside two workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.conftest import SERVICES, Command

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_testing._servers.base import Broker


def test_two_workers_in_tables_and_as_json(rabbitmq: Broker, tmp_path: Path) -> None:
    command = Command(rabbitmq.fresh_vhost(), tmp_path)
    (tmp_path / "services.py").write_text(SERVICES)
    nobody = command("services")
    assert (nobody.returncode, nobody.stderr) == (0, "no worker has answered within 2 s\n")
    with command.serving("services.py") as one, command.serving("services.py") as two:
        assert command("bench", "add", "1", "--calls", "3", "--yes").returncode == 0
        assert command("call", "fail").returncode == 1

        table = command("services").stdout.splitlines()
        assert table[0].split() == [
            "service",
            "calls/s",
            "p50",
            "p99",
            "in",
            "hand",
            "waiting",
            "refused",
            "errors",
            "workers",
        ]
        rows = {line.split()[0]: line.split() for line in table[1:]}
        assert rows["add"][-1] == "2"
        assert rows["fail"][-2:] == ["1", "2"]
        assert rows["narrow"][5] == "0/1", "how many wait, and how many may"
        assert rows["narrow"][1] == "0.0/300", "how many calls end in one second, and how many may start"
        limited = command("services", "narrow").stdout
        assert "rate: at most 300 calls/s start, share " in limited
        assert " 0 wait for their turn, 0 refused\n" in limited
        assert all(line == line.rstrip() for line in table)

        found = json.loads(command("services", "--json").stdout)
        (add,) = [service for service in found["services"] if service["name"] == "add"]
        assert (add["signature"], add["counts"]["succeeded"], len(add["workers"])) == ("(a, b=1)", 3, 2)

        about = command("services", "fail")
        assert about.stdout.startswith("fail() (async)\n")
        assert "calls: 1 failed" in about.stdout
        assert r"1 time: builtins.LookupError: nothing here \x1b[31m\nerror: forged" in about.stdout
        assert 'services.py", line' in about.stdout
        assert about.stdout.replace("\n", "").isprintable()
        missing = command("services", "nobody")
        assert (missing.returncode, missing.stdout) == (6, "")

        lines = command("workers").stdout.splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [[line.split()[0], "ready"] for line in lines[1:]]
        answered = json.loads(command("workers", "--json").stdout)
        assert {worker["pid"] for worker in answered["workers"]} == {one.pid, two.pid}
        assert answered["complete"] is True

        name = answered["workers"][0]["name"]
        assert command("ping", name).stdout.startswith(f"{name} answered in ")
        assert json.loads(command("ping", name, "--json").stdout)["pid"] == answered["workers"][0]["pid"]
        silent = command("ping", "nobody", "--timeout", "0.5")
        assert silent.returncode == 7
        assert "no worker 'nobody' has answered within 0.5 s" in silent.stderr

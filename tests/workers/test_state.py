"""SIGUSR1 to a supervisor, and ``rabibridge workers dump``: what its workers and their child processes run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

from tests.support import fork_server
from tests.support.fork_server import server_of_commands
from tests.support.waiting import soon, until
from tests.workers.support import alive, children_of

if TYPE_CHECKING:
    import subprocess

    from rabibridge import RMQClient
    from tests.workers.support import Program

CHILD = """
from pathlib import Path


async def crunch(secret):
    Path("crunch.began").touch()
    while not Path("release").exists():
        sum(range(1000))
    return 7
"""
TARGET = """
from child import crunch
from rabibridge import register_call
from services import hold

register_call(executor="process", fetch_size=1)(crunch)
"""


def _dump(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "rabibridge", "workers", "dump", "--timeout", "30", *arguments]
    environment = os.environ | {"RABIBRIDGE_URL": program.url}
    return fork_server.run(server_of_commands, command, cwd=program.folder, env=environment, text=True, timeout=180)


async def test_a_supervisor_and_the_command_show_what_all_workers_run(program: Program, client: RMQClient) -> None:
    (program.folder / "child.py").write_text(CHILD)
    (program.folder / "shop.py").write_text(TARGET)
    with program.command("shop.py", "--workers", "2") as running:
        await running.serves(2)
        crunching = asyncio.create_task(client.remote_call("crunch", ("hunter2",), timeout=300))
        held = asyncio.create_task(client.remote_call("hold", ("h",), timeout=300))
        await until(lambda: all((program.folder / f"{name}.began").exists() for name in ("crunch", "h")))
        children = {child for worker in running.workers for child in children_of(worker)}
        running.send(signal.SIGUSR1)
        await running.logged(" runs ", 2)
        await running.logged("child.py:")
        assert "in crunch" in running.log
        assert "services.py:" in running.log
        assert "in hold" in running.log

        dumped, as_json = await asyncio.gather(
            asyncio.to_thread(_dump, program), asyncio.to_thread(_dump, program, "--service", "crunch", "--json")
        )
        assert dumped.returncode == 0, dumped.stderr
        assert dumped.stdout.count(f" on {os.uname().nodename}: ") == 2
        assert "in crunch" in dumped.stdout
        assert "in hold" in dumped.stdout
        assert "hunter2" not in dumped.stdout + running.log
        busy = [worker for worker in json.loads(as_json.stdout)["workers"] if worker["calls"]]
        assert len(busy) == 1, as_json.stdout + as_json.stderr
        assert busy[0]["calls"][0]["stacks"][0]["places"][0]["function"] == "crunch"
        missing = await asyncio.to_thread(_dump, program, "nobody", "--timeout", "0.2")
        assert missing.returncode == 7
        assert "no worker has answered within 0.2 s" in missing.stderr

        running.send(signal.SIGUSR1, group=True)  # as some service managers send it, to all processes at once
        for child in children:
            os.kill(child, signal.SIGUSR1)
        await running.logged("in crunch", 2)
        (program.folder / "release").touch()
        assert await soon(crunching) == 7
        assert await soon(held) in running.workers
        assert all(map(alive, children))
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.log

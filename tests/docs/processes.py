"""Programs out of the documentation, run as their readers would run them."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support import fork_server
from tests.support.fork_server import server_of_pytest, server_of_scripts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TIMEOUT = 90.0
_OURS = ("RABIBRIDGE_", "RABBITMQ_", "CLOUDAMQP_", "PYTEST_")


def clean_environment(url: str | None = None) -> dict[str, str]:
    """Return the environment without any setting of ours, except for the broker's URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return environment if url is None else environment | {"RABIBRIDGE_URL": url}


def run_python(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run Python to its end and return what it printed; fail with all of it where it fails. A warning is an error."""
    done = fork_server.run(
        server_of_pytest if arguments[:2] == ["-m", "pytest"] else server_of_scripts,
        arguments,
        cwd=folder,
        env=environment,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@contextmanager
def running(script: Path, environment: Mapping[str, str], arguments: Sequence[str] = ()) -> Iterator[None]:
    """Run a service beside the block: it has printed a line when this begins, and must end well on SIGTERM."""
    program = fork_server.start(
        server_of_scripts,
        [script.name, *arguments],
        cwd=script.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(TIMEOUT, program.kill)
    killer.start()
    try:
        assert program.stdout is not None
        if not program.stdout.readline():
            raise AssertionError(f"{script.name} ended before it was ready:\n{program.communicate()[1]}")
        yield
    finally:
        program.terminate()
        _, errors = program.communicate()
        killer.cancel()
    assert program.returncode == 0, f"{script.name} ended with status {program.returncode}:\n{errors}"

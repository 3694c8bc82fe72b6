"""The ``rabibridge`` command, as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVICES = """
from rabibridge import register_call

@register_call
async def add(a, b=1):
    return a + b

@register_call
def shout(text):
    return text.upper()

@register_call
async def fail():
    raise LookupError("nothing here")
"""

NOISE = """
import logging

for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
    logging.getLogger("noise").log(logging.getLevelName(level), "heard at %s", level)
"""
"""Logs when it is loaded and offers nothing, so that the command ends by itself."""


@pytest.fixture
def rabibridge(vhost_url: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["-m", "rabibridge", *args]
        environment = _env(vhost_url) | variables
        return fork_server.run(server_of_commands, command, cwd=tmp_path, env=environment, text=True, timeout=60)

    return run


@pytest.fixture
def serving(vhost_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "services.py").write_text(SERVICES)
    with _serving(vhost_url, tmp_path, "services.py") as process:
        yield process


@contextmanager
def _serving(url: str, folder: Path, *targets: str) -> Iterator[subprocess.Popen[str]]:
    command = ["-m", "rabibridge", "run", *targets]
    with fork_server.start(
        server_of_commands, command, cwd=folder, env=_env(url), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "serves" in line:
                break
        yield process
        process.kill()


def _env(url: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RABIBRIDGE_")}
    return environment | {"RABIBRIDGE_URL": url}


def test_targets_are_files_of_any_name_and_folders(
    rabibridge: Callable[..., subprocess.CompletedProcess[str]], vhost_url: str, tmp_path: Path
) -> None:
    service = "from rabibridge import register_call\nfrom _n import N\n@register_call\ndef {}():\n    return N\n"
    for number, (folder, name) in enumerate(
        [("one", "tasks"), ("two", "tasks"), ("three", "queue"), ("plugins", "a-b")]
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "_n.py").write_text(f"N = {number}\n")
        (tmp_path / folder / f"{name}.py").write_text(service.format(f"f{number}"))
    with _serving(vhost_url, tmp_path, "one/tasks.py", "two/tasks.py", "three/queue.py", "plugins"):
        assert [rabibridge("call", f"f{number}").stdout.strip() for number in range(4)] == ["0", "1", "2", "3"]


def test_run_ends_cleanly_on_sigterm(serving: subprocess.Popen[str]) -> None:
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(timeout=60) == 0


def test_run_says_what_is_wrong_with_its_target(
    rabibridge: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "empty.py").write_text("")
    assert "contains no function" in rabibridge("run", "empty.py").stderr
    missing = rabibridge("run", "no_such_module")
    assert missing.returncode == 3
    assert "no_such_module" in missing.stderr


@pytest.mark.parametrize(
    ("option", "variable", "key", "heard"),
    [
        ("", "", "", ["INFO", "WARNING", "ERROR"]),
        ("", "", "warning", ["WARNING", "ERROR"]),
        ("", "error", "warning", ["ERROR"]),
        ("debug", "error", "warning", ["DEBUG", "INFO", "WARNING", "ERROR"]),
    ],
    ids=["nothing", "the file", "the variable before the file", "the option before both"],
)
def test_run_logs_at_the_level_of(
    rabibridge: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    option: str,
    variable: str,
    key: str,
    heard: list[str],
) -> None:
    (tmp_path / "noise.py").write_text(NOISE)
    (tmp_path / "rabibridge.toml").write_text(f'[app]\nLOG_LEVEL = "{key}"\n')
    options = ["--log-level", option] if option else []
    ended = rabibridge("run", "noise.py", *options, RABIBRIDGE_LOG_LEVEL=variable)
    assert [line.rpartition(" ")[2] for line in ended.stderr.splitlines() if "heard at" in line] == heard


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")
def test_run_uses_uvloop_where_it_is_installed_and_says_so(
    rabibridge: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "noise.py").write_text(NOISE)
    assert "event loop: uvloop" in rabibridge("run", "noise.py").stderr
    (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not installed')")  # found before the real one
    ended = rabibridge("run", "noise.py", PYTHONPATH=str(tmp_path))  # a new interpreter, which has not imported uvloop
    assert "event loop: asyncio" in ended.stderr
    assert "heard at INFO" in ended.stderr


def test_run_refuses_what_is_no_log_level(rabibridge: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert "'loud' is not a log level" in rabibridge("run", "services.py", "--log-level", "loud").stderr
    refused = rabibridge("run", "services.py", RABIBRIDGE_LOG_LEVEL="loud")
    assert refused.returncode == 3
    assert "RABIBRIDGE_LOG_LEVEL" in refused.stderr

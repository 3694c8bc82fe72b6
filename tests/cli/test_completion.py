"""Shells complete the names of commands and options, once ``--install-completion`` has told them how."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SHELLS = ("bash", "zsh", "fish")
_CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}
_ASKS = {
    "bash": lambda line: {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)},
    "zsh": lambda line: {"_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables with a home of its own, and the command ``rabibridge`` of this Python in front of all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "rabibridge"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rabibridge "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{folder}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",  # the parent of a test is no shell
        "TERM": "dumb",
    }


@pytest.fixture
def rabibridge(environment: dict[str, str]) -> Callable[..., str]:
    def run(*arguments: str, **variables: str) -> str:
        return subprocess.run(
            ["rabibridge", *arguments],
            env=environment | variables, capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="it needs shells of Unix")
@pytest.mark.parametrize("shell", _SHELLS)
def test_the_script_of_a_shell_can_be_read_by_it(rabibridge: Callable[..., str], tmp_path: Path, shell: str) -> None:
    script = tmp_path / "script"
    script.write_text(rabibridge("--show-completion", shell))
    assert f"_RABIBRIDGE_COMPLETE=complete_{shell}" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([*_CHECKS[shell], str(script)], timeout=60, check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="it needs shells of Unix")
@pytest.mark.parametrize("shell", _SHELLS)
def test_a_shell_is_told_commands_and_options(rabibridge: Callable[..., str], shell: str) -> None:
    def told(line: str) -> str:
        return rabibridge(_RABIBRIDGE_COMPLETE=f"complete_{shell}", **_ASKS[shell](line))

    commands = told("rabibridge d")
    assert all(name in commands for name in ("doctor", "dead", "dashboard"))
    assert "call" not in commands.split()
    assert "--idempotency-key" in told("rabibridge call --ide")


@pytest.mark.skipif(shutil.which("bash") is None or sys.platform == "win32", reason="bash is not installed")
def test_bash_completes_what_is_typed(rabibridge: Callable[..., str], environment: dict[str, str]) -> None:
    import pexpect  # only where there are terminals

    rabibridge("--install-completion", "bash")
    bash = pexpect.spawn(
        "bash", ["--rcfile", f"{environment['HOME']}/.bashrc", "-i"],
        env=environment | {"PS1": "> "}, encoding="utf-8", timeout=PATIENCE, dimensions=(24, 200),
    )  # fmt: skip
    try:
        bash.expect("[#$>] ")  # the system may set a prompt of its own
        for typed, completed in (
            ("rabibridge doc\t", "rabibridge doctor "),
            ("--str\t", "--strict "),
            ("\x15rabibridge call --ide\t", "--idempotency-key "),  # Ctrl-U: another line
        ):
            bash.send(typed)
            bash.expect_exact(completed)
    finally:
        bash.close(force=True)

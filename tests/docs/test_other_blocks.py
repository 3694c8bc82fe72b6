"""What is not Python: TOML parses and is understood, commands exist."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import subprocess
import tomllib
from functools import cache
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.settings import load_settings
from tests.docs.blocks import ROOT, Block, blocks_of, documents
from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = [block for document in documents() for block in blocks_of(document)]
TOML = [block for block in BLOCKS if block.language == "toml"]
SHELL = [block for block in BLOCKS if block.language in ("sh", "bash", "shell", "console")]
KNOWN = {"", "bash", "console", "json", "make", "py", "python", "sh", "shell", "text", "toml"}


def _commands(block: Block) -> str:
    """Return what is typed: all of it, or in a console the lines behind the prompt, each command in one line."""
    text = block.text.replace("\\\n", "")
    if block.language != "console":
        return text
    return "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))


COMMANDS = [
    pytest.param(block, shlex.split(line, comments=True), id=f"{block.name}: {line.split('#')[0].strip()}")
    for block in SHELL
    for line in _commands(block).splitlines()
    if shlex.split(line, comments=True)
]


@pytest.mark.parametrize("document", documents(), ids=str)
def test_every_block_says_a_language_that_is_checked(document: Path) -> None:
    assert {block.language for block in blocks_of(document)} <= KNOWN


@pytest.mark.parametrize("block", TOML, ids=lambda block: block.name)
def test_toml_is_understood(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tables = tomllib.loads(block.text)
    if not tables.keys() <= {"rabbitmq", "app"}:
        return
    path = tmp_path / "rabibridge.toml"
    path.write_text(block.text, encoding="utf-8")
    monkeypatch.setenv("RABIBRIDGE_CONFIG", str(path))
    with caplog.at_level(logging.WARNING):
        load_settings(require_broker=False)
    assert caplog.messages == []


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.name)
def test_shell_commands_are_well_formed(block: Block) -> None:
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("there is no sh")
    done = subprocess.run([shell, "-n"], input=_commands(block), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@cache
def _help(command: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(server_of_commands, ["-m", "rabibridge", command, "--help"], text=True, timeout=60)


@pytest.mark.parametrize(("block", "words"), COMMANDS)
def test_commands_name_what_there_is(block: Block, words: list[str]) -> None:
    program, arguments = words[0], words[1:]
    if program == "make":
        targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
    elif program == "pip" and "install" in arguments:
        for word in arguments:
            if "packages/" in word:
                assert (ROOT / word.partition("[")[0] / "pyproject.toml").is_file()
    elif program == "cd":
        assert (ROOT / arguments[0]).is_dir()
    elif program == "rabibridge" and arguments:
        while arguments[0].startswith("--"):  # an option that stands before the command, and its value
            arguments = arguments[2:]
        done = _help(arguments[0])
        assert done.returncode == 0, done.stdout + done.stderr

"""docs/command.md: its examples print what it says, and its table lists every exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge.cli.app import COMMANDS
from rabibridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.docs.blocks import ROOT, blocks_of

if TYPE_CHECKING:
    from rabibridge_testing._servers.base import Broker

PAGE = Path("docs/command.md")


def _examples() -> list[tuple[str, str]]:
    """Return each command of the page, with the output that stands below it."""
    found: list[tuple[str, str]] = []
    for block in blocks_of(PAGE):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append((command, output.rstrip()))
    return found


def _matches(expected: str, printed: str) -> bool:
    """Tell whether that was printed; ``...`` stands for anything, and runs of spaces count as one."""
    parts = (re.escape(" ".join(part.split())) for part in expected.split("..."))
    return re.fullmatch(".*".join(parts), " ".join(printed.split()), flags=re.DOTALL) is not None


@pytest.mark.timeout(300)  # it starts twenty processes
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_examples_print_what_the_page_says(rabbitmq: Broker, tmp_path: Path) -> None:
    (services,) = [block for block in blocks_of(PAGE) if block.file == "services.py"]
    (tmp_path / "services.py").write_text(services.text)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "rabibridge"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rabibridge "$@"\n')
    script.chmod(0o755)
    command = Command(rabbitmq.fresh_vhost(), tmp_path)
    environment = command.environment()
    environment["PATH"] = os.pathsep.join((str(script.parent), environment["PATH"]))

    def run(line: str) -> str:
        line = f"{{ {line}\n}} 2>&1"
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        return done.stdout

    examples = _examples()
    with command.serving("services.py"), ThreadPoolExecutor(4) as threads:
        printed = list(threads.map(run, [line for line, _ in examples]))
        for number, (line, expected) in enumerate(examples):
            for _ in range(5):  # on a busy machine, a worker may take longer to answer than is waited for it
                if _matches(expected, printed[number]):
                    break
                printed[number] = run(line)
    pairs = zip(examples, printed, strict=True)
    wrong = [f"$ {line}\n{text}" for (line, expected), text in pairs if not _matches(expected, text)]
    assert not wrong, "\n".join(wrong)


def test_the_table_lists_every_exit_status() -> None:
    table = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / PAGE).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert table == [(str(code.value), code.name) for code in ExitCode]


def test_every_command_is_on_the_page() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / PAGE).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z]+)`", row)} == set(COMMANDS)

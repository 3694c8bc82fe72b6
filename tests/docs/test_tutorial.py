"""The tutorial, followed as a reader follows it: its files, its commands, in its order."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.docs.blocks import blocks_of
from tests.docs.processes import TIMEOUT, clean_environment, run_python
from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = Path("docs/tutorial.md")
BLOCKS = blocks_of(PAGE)
COMMANDS = [block.text for block in BLOCKS if block.language == "console"]
_HUNDRED = (
    "curl -s -o /dev/null -w '%{http_code}\\n' -Z --parallel-max 100 'localhost:8000/report/[1-100]' 2> /dev/null"
    " | sort | uniq -c"
)


def _shown(command: str) -> str:
    """Return what the page shows as the output of a command."""
    (text,) = [text for text in COMMANDS if text.startswith(f"$ {command}\n")]
    return text.partition("\n")[2]


@contextmanager
def _serving(arguments: list[str], folder: Path, environment: Mapping[str, str], ready: str) -> Iterator[list[str]]:
    """Run a command that serves; wait until it has written ``ready``."""
    program = fork_server.start(
        server_of_commands, ["-m", *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert program.stderr is not None
    lines: list[str] = []
    try:
        for line in program.stderr:
            lines.append(line)
            if ready in line:
                break
        else:
            pytest.fail(f"{arguments} ended:\n{''.join(lines)}")
        yield lines
    finally:
        program.terminate()
        program.communicate(timeout=TIMEOUT)


@pytest.mark.rabbitmq
def test_from_the_first_service_to_the_gateway(tmp_path: Path, vhost_url: str) -> None:
    for block in BLOCKS:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    environment = clean_environment(vhost_url)
    with _serving(["rabibridge", "run", "services.py"], tmp_path, environment, "serves 1 service"):
        assert run_python(["-m", "rabibridge", "call", "report", "7"], tmp_path, environment) == _shown(
            "rabibridge call report 7"
        )
        assert run_python(["client.py"], tmp_path, environment) == _shown("python client.py")
        results, refused = map(int, re.findall(r"\d+", run_python(["burst.py"], tmp_path, environment)))
        assert results + refused == 100
        assert 20 <= results < 100
        uvicorn = ["uvicorn", "gateway:app", "--port", "0"]
        with _serving(uvicorn, tmp_path, environment, "Uvicorn running on") as log:
            (address,) = re.findall(r"http://[\d.:]+", log[-1])
            answer = httpx.get(f"{address}/report/7", timeout=TIMEOUT)
            assert answer.text + "\n" == _shown("curl localhost:8000/report/7")
            if shutil.which("curl") is not None:
                hundred = _HUNDRED.replace("localhost:8000", address.removeprefix("http://"))
                done = subprocess.run(["sh", "-c", hundred], capture_output=True, text=True, timeout=TIMEOUT)
                counts = {status: int(count) for count, status in map(str.split, done.stdout.splitlines())}
                assert counts.keys() == {"200", "503"}
                assert sum(counts.values()) == 100


def test_the_commands_are_those_that_this_test_runs() -> None:
    commands = [text.partition("\n")[0].removeprefix("$ ") for text in COMMANDS]
    assert commands == [
        "rabibridge run services.py",
        "rabibridge call report 7",
        "python client.py",
        "python burst.py",
        "uvicorn gateway:app",
        "curl localhost:8000/report/7",
        _HUNDRED,
        "pytest -q",
    ]

"""The quick start: two files and their output, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.processes import clean_environment, run_python, running

PAGE = Path("docs/quickstart.md")
EXAMPLES = ROOT / "examples" / "quickstart"


@pytest.fixture
def files() -> dict[str, Block]:
    return {block.file: block for block in blocks_of(PAGE) if block.file is not None}


def test_the_page_shows_the_files_of_the_example(files: dict[str, Block]) -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    assert {name: block.text for name, block in files.items()} == written


def test_it_prints_what_the_readme_says(files: dict[str, Block], tmp_path: Path, vhost_url: str) -> None:
    for name, block in files.items():
        (tmp_path / name).write_text(block.text, encoding="utf-8")
    environment = clean_environment(vhost_url)
    with running(tmp_path / "service.py", environment):
        printed = run_python(["client.py"], tmp_path, environment)
    blocks = blocks_of(PAGE)
    shown = next(block for block in blocks[blocks.index(files["client.py"]) :] if block.language == "text")
    assert printed == shown.text


def test_its_commands_start_these_files(files: dict[str, Block]) -> None:
    commands = "".join(block.text for block in blocks_of(PAGE) if block.language == "sh")
    assert re.findall(r"^python (.+)$", commands, flags=re.MULTILINE) == ["service.py", "client.py"]
    assert commands.count("cd examples/quickstart\n") == 2
    assert commands.count("export RABIBRIDGE_URL=amqp://guest:guest@localhost:5672/\n") == 2

"""SECURITY.md: each line of the threat model names tests, and these exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_TEST = re.compile(r"`((?:tests|packages)/[\w/.-]+\.py)(?:::(\w+))?`")


def _rows() -> list[str]:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    model = text[text.index("## Threat model") :]
    lines = [line for line in model.splitlines() if line.startswith("|")]
    return [line for line in lines if not re.match(r"\|(---| line \|| attack \|)", line)]


def test_every_line_names_a_test() -> None:
    assert len(_rows()) > 50
    assert [row for row in _rows() if not _TEST.search(row.rstrip(" |").rpartition(" | ")[2])] == []


@pytest.mark.parametrize("file", sorted({file for row in _rows() for file, _ in _TEST.findall(row)}))
def test_the_tests_exist(file: str) -> None:
    assert (ROOT / file).is_file()
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    named = {name for row in _rows() for path, name in _TEST.findall(row) if path == file and name}
    assert named <= functions, f"{file} has no {sorted(named - functions)}"

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tools import newest_python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")


def _program(folder: Path, name: str, version: str, level: str = "final") -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho {version}\necho {level}\n")
    program.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which a Python can be found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "no-pyenv"))
    monkeypatch.setattr(sys, "argv", ["newest_python"])
    return tmp_path


def test_the_newest_that_is_released(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _program(folder, "python3", "3 11 2")
    _program(folder, "python3.98", "3 98 0")
    _program(folder, "python3.99", "3 99 0", "beta")
    assert newest_python.main() == 0
    assert capsys.readouterr().out == f"{folder / 'python3.98'}\n"


def test_the_newest_installed_one_where_no_newer_one_can_be_had(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(folder, "python3.11", "3 11 9")
    monkeypatch.setattr(sys, "platform", "another")
    monkeypatch.setattr(sys, "argv", ["newest_python", "3.98"])
    assert newest_python.main() == 0
    answer = capsys.readouterr()
    assert answer.out == f"{folder / 'python3.11'}\n"
    assert "No Python 3.98: debootstrap needs root on Linux" in answer.err


def test_none(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _program(folder, "python3", "3 9 2")
    monkeypatch.setattr(sys, "platform", "another")
    monkeypatch.setattr(sys, "argv", ["newest_python", "3.98"])
    assert newest_python.main() == 1
    assert "No Python 3.11 or later" in capsys.readouterr().err

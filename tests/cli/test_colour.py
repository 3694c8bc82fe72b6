"""Colour is for terminals: what is written into a file or a pipe has none, unless it is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Command
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

_AWAY = "amqp://guest:guest@127.0.0.1:9/"
_COLOUR = "\x1b[3"


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
    ids=["pipe", "forced", "forbidden"],
)
def test_in_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], coloured: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    done = Command(_AWAY, tmp_path)("doctor", **variables)
    assert "nobody listens there" in done.stdout
    assert (_COLOUR in done.stdout) == coloured
    assert ("\x1b" in done.stdout) == ("FORCE_COLOR" in variables)  # without colour, bold remains


@pytest.mark.skipif(sys.platform == "win32", reason="it needs a terminal of Unix")
@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "forbidden", "dumb"],
)
def test_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], coloured: bool
) -> None:
    import pexpect  # only where there are terminals

    command = Command(_AWAY, tmp_path)
    program, *arguments = command.line("doctor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    environment = command.environment() | {"TERM": "xterm"} | variables
    child = pexpect.spawn(
        program, arguments, cwd=str(tmp_path), env=environment, encoding="utf-8", timeout=PATIENCE, dimensions=(24, 200)
    )
    child.expect(pexpect.EOF)
    child.close()
    shown = child.before or ""
    assert "nobody listens there" in shown
    assert (_COLOUR in shown) == coloured

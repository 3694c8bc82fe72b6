"""Make the moving picture of README.md: ``python -m tools.terminal_picture``, from real terminals.

Two shells run side by side on a private RabbitMQ: one serves the function of docs/tutorial.md, the other calls it. What
they print is recorded with its times and drawn by ``tools.terminal_svg``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect

from tools.broker import provide_broker
from tools.terminal_svg import Event, Recording, draw

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[1]
PICTURE = _ROOT / "docs/assets/terminal.svg"
TUTORIAL = _ROOT / "docs/tutorial.md"
COLUMNS, ROWS = 62, 18
PROMPT = "$ "
LEFT, RIGHT = "worker", "caller"
_TIMEOUT = 120.0
_KEY, _PAUSE, _SILENCE, _END = 0.04, 1.1, 0.7, 4.0
"""Seconds for a key, to read what a command has printed, the longest wait for output, and the rest at the end."""
SESSION = (
    (LEFT, "cat services.py", None),
    (LEFT, "rabibridge run services.py", r"serves 1 service"),
    (RIGHT, "rabibridge call report 7", None),
    (RIGHT, "python burst.py  # 100 calls at once", None),
    (RIGHT, "rabibridge call report --timeout 0.05 7", None),
    (RIGHT, "rabibridge call no_such_function", None),
)
"""Where each command is typed, and what its output says when it goes on; None: the prompt."""


class _Shell:
    """A shell in a terminal of its own, whose output is recorded."""

    def __init__(self, pane: str, folder: Path, url: str, events: list[Event]) -> None:
        self._pane, self._events = pane, events
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PS1": PROMPT,
            "RABIBRIDGE_URL": url,
            "TERM": "xterm-256color",
        }
        environment.pop("NO_COLOR", None)
        self._process: pexpect.spawn[str] = pexpect.spawn(
            "bash", ["--norc", "--noprofile"], cwd=folder, env=environment, dimensions=(ROWS, COLUMNS),
            encoding="utf-8", timeout=_TIMEOUT,
        )  # fmt: skip
        self._process.sendline("bind 'set enable-bracketed-paste off'; clear")
        self._process.expect(r"\x1b\[[0-9;]*J[^$]*\$ ")  # the prompt behind the emptied screen

    def show_prompt(self, at: float) -> None:
        """Begin the recording with the prompt."""
        self._events.append(Event(at, self._pane, PROMPT))

    def run(self, command: str, until: str | None, at: float) -> float:
        """Type a command that begins at second ``at`` of the recording; return when it has been read."""
        for key in command:
            at += _KEY
            self._events.append(Event(at, self._pane, key))
        self._process.send(command)
        self._process.expect_exact(command)
        at += _KEY * 4
        last = time.monotonic()
        self._process.send("\n")
        for text in self._output(until):
            now = time.monotonic()
            at, last = at + min(now - last, _SILENCE), now
            self._events.append(Event(at, self._pane, text))
        return at + _PAUSE

    def _output(self, until: str | None) -> Iterator[str]:
        """Yield what the terminal gets, up to the prompt or the line with ``until``."""
        seen = ""
        end = re.compile(rf"{until}[^\n]*\n" if until else r"(^|\n)\$ $")
        while not end.search(seen):
            text = self._process.read_nonblocking(4096, _TIMEOUT)
            seen += text
            yield text

    def close(self) -> None:
        """End the shell and what it runs."""
        self._process.sendintr()
        self._process.sendeof()
        self._process.close(force=True)


def _programs(folder: Path) -> None:
    """Write the programs of the tutorial into a folder."""
    for name, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.M | re.S):
        (folder / name).write_text(text.lstrip("\n"), encoding="utf-8")


def record(url: str) -> Recording:
    """Run the session on the broker at ``url``."""
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as place:
        _programs(Path(place))
        shells = {pane: _Shell(pane, Path(place), url, events) for pane in (LEFT, RIGHT)}
        try:
            at = 0.0
            for shell in shells.values():
                shell.show_prompt(at)
            for pane, command, until in SESSION:
                at = shells[pane].run(command, until, at)
        finally:
            for shell in reversed(shells.values()):
                shell.close()
    return Recording(events, at + _END, (LEFT, RIGHT), COLUMNS, ROWS)


def main() -> int:
    broker = provide_broker(allow_install=True)
    if broker is None:
        print("No RabbitMQ can be had here.", file=sys.stderr)
        return 1
    with broker:
        recording = record(broker.url)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(recording), encoding="utf-8", newline="\n")
    print(f"{PICTURE.relative_to(_ROOT)}: {recording.duration:.0f} s, {PICTURE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

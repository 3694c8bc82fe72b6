"""Ends process groups and removes folders when the process that started it is gone, however it went.

It reads lines from its standard input, which the parent holds open: ``group PGID`` and ``folder PATH`` remember
something, ``forget`` drops everything. At the end of the input, which even SIGKILL of the parent brings about, it kills
and removes what it remembers. Standard library only, and no import from this repository: it must start fast.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys


class Reaper:
    """The parent's end: one helper process per node."""

    def __init__(self) -> None:
        """Start the helper, in a session of its own, so that Ctrl-C does not reach it."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch_group(self, group: int) -> None:
        """Have a process group killed once this process is gone."""
        self._tell(f"group {group}")

    def watch_folder(self, folder: str) -> None:
        """Have a folder removed once this process is gone."""
        self._tell(f"folder {folder}")

    def close(self) -> None:
        """End the helper without killing or removing anything."""
        self._tell("forget")
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def kill_group(group: int) -> None:
    """Send SIGKILL to every process of a group, if there is any left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _main() -> None:
    groups: list[int] = []
    folders: list[str] = []
    for line in sys.stdin:
        word, _, value = line.rstrip("\n").partition(" ")
        if word == "group":
            groups.append(int(value))
        elif word == "folder":
            folders.append(value)
        else:
            groups.clear()
            folders.clear()
    for group in groups:
        kill_group(group)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()

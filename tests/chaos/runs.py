"""What ran on the workers: one file for each test, to which every handler writes when it starts and when it ends.

A line is one write to a file that is opened for appending, so that none is torn and none is lost with its process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Run", "RunWriter", "read_runs"]


class RunWriter:
    """The workers' end."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._pid = os.getpid()

    def write(self, what: str, call_id: int) -> None:
        os.write(self._file, f"{what} {call_id} {self._pid} {time.monotonic():.3f}\n".encode())

    @contextmanager
    def run(self, call_id: int) -> Iterator[None]:
        """Note that a handler starts, and how it ends."""
        self.write("start", call_id)
        try:
            yield
        except asyncio.CancelledError:
            self.write("cancelled", call_id)
            raise
        except BaseException:
            self.write("raised", call_id)
            raise
        else:
            self.write("end", call_id)


@dataclass(slots=True)
class Run:
    """One run of a handler.

    Attributes:
        pid: in which process.
        started: when, by the clock ``time.monotonic``, which all processes of a machine share.
        end: ``"end"``, ``"cancelled"`` or ``"raised"``; ``None``: it did not, or its process is gone.
        ended: when.
    """

    pid: int
    started: float
    end: str | None = None
    ended: float | None = None


def read_runs(path: Path) -> dict[int, list[Run]]:
    """Return all runs of each call, in the order in which they started."""
    runs: defaultdict[int, list[Run]] = defaultdict(list)
    if not path.exists():
        return runs
    with path.open() as lines:
        for line in lines:
            what, call_id, pid, at = line.split()
            known = runs[int(call_id)]
            if what == "start":
                known.append(Run(int(pid), float(at)))
                continue
            # Where the file was begun anew, there may be the end of what started before.
            for run in known:
                if run.pid == int(pid) and run.end is None:
                    run.end, run.ended = what, float(at)
                    break
    return runs

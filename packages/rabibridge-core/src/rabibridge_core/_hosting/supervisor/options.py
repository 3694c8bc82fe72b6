"""What a supervisor is told: what its workers run, how many there are, and when one is replaced."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_core._hosting.supervisor.monitor import SupervisorMonitor
    from rabibridge_core._hosting.worker.programs import Program

__all__ = ["SupervisorOptions", "WorkerLaunch", "working_folder"]


def working_folder() -> str:
    """Return the working directory as the shell calls it: symbolic links in it are followed anew by each new worker."""
    shown = os.environ.get("PWD", "")
    try:
        if os.path.isabs(shown) and os.path.samefile(shown, os.curdir):
            return shown
    except OSError:
        pass  # it does not exist any more
    return os.getcwd()


@dataclass(frozen=True, slots=True)
class WorkerLaunch:
    """What every worker runs.

    Attributes:
        program: its program.
        path: its ``sys.path``.
        arguments: its ``sys.argv``.
        folder: its working directory.
        serves: whether it is expected to serve, so that one that is not ready within ``start_timeout`` has failed.
    """

    program: Program
    path: list[str] = field(default_factory=lambda: list(sys.path))
    arguments: list[str] = field(default_factory=lambda: list(sys.argv))
    folder: str = field(default_factory=working_folder)
    serves: bool = True


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """How a supervisor treats its workers.

    Attributes:
        workers: how many there are at first.
        bind_core: whether each is bound to a core, by turns if there are fewer cores than workers.
        start_timeout: how long one may take until it is ready, in seconds.
        max_calls: after how many calls one is replaced; 0: never.
        max_memory: with how much resident memory one is replaced, in bytes; 0: never.
        watched: files and folders; when a Python file in them changes, all workers are replaced.
        monitor: tells others of the supervisor and its workers; ``None``: nothing does.
    """

    workers: int
    bind_core: bool = False
    start_timeout: float = 60.0
    max_calls: int = 0
    max_memory: int = 0
    watched: tuple[Path, ...] = ()
    monitor: SupervisorMonitor | None = None

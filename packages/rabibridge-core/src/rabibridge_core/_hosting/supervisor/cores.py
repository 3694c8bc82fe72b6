"""The cores of this machine that this process may use, and how many workers that makes."""

from __future__ import annotations

import os
from pathlib import Path

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

__all__ = ["core_of", "usable_cores", "worker_count"]

_log = get_logger(__name__)
_CGROUP = Path("/sys/fs/cgroup")
_WORKERS_MAX = 1024


def worker_count(workers: object) -> int:
    """Return how many workers are meant.

    Raises:
        ConfigurationError: it is neither a number of workers nor ``"auto"``.
    """
    if workers == "auto":
        return usable_cores()
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= _WORKERS_MAX:
        raise ConfigurationError(f"workers={workers!r}: expected a number from 1 to {_WORKERS_MAX}, or 'auto'")
    return workers


def usable_cores() -> int:
    """Return how many processes can run at the same time: the cores of this process, or what its container may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, cores if quota is None else min(cores, quota))


def _quota() -> int | None:
    """Return how many cores the control group of this process may use, rounded up; ``None``: no limit is known."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
        limit, period = (_CGROUP / own / "cpu.max").read_text().split()
        return None if limit == "max" else -(-int(limit) // int(period))
    except (OSError, ValueError):
        return None  # no Linux, or control groups of version 1


def core_of(number: int) -> int | None:
    """Return the core that worker ``number``, from 1, is bound to; ``None``: this system binds no processes."""
    if not hasattr(os, "sched_getaffinity"):
        if number == 1:
            _log.warning(
                "workers are not bound to cores: this system cannot do it",
                extra=log_fields("supervisor.cores_unsupported"),
            )
        return None
    cores = sorted(os.sched_getaffinity(0))
    return cores[(number - 1) % len(cores)]

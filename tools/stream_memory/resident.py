"""The memory of a process, as Linux counts it."""

from __future__ import annotations

import gc
from pathlib import Path

__all__ = ["Growth"]


class Growth:
    """How far the resident memory of this process has risen above what it was, in bytes."""

    def __init__(self) -> None:
        """Begin to measure: forget the peak before."""
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _resident("VmRSS")

    def __call__(self) -> int:
        """Return the growth at its peak."""
        return max(0, _resident("VmHWM") - self._before)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status does not say {name}")

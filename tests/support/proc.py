"""What /proc says about processes."""

from __future__ import annotations

from pathlib import Path

__all__ = ["children_of"]


def children_of(pid: int) -> set[int]:
    """Return the children of a process that were not reaped."""
    # Not by its ``children`` in /proc, which leaves some out while others end.
    return {int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _parent(entry) == pid}


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0

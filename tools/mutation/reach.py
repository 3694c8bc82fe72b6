"""Which lines of the engines each seed and each test reaches, and how long it takes."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Reach", "lines_run"]


class Reach(NamedTuple):
    """What a seed or a test reaches.

    Attributes:
        name: the seed, or the node id of the test.
        seconds: how long it takes; negative if it fails.
        lines: the lines it runs, by module.
    """

    name: str
    seconds: float
    lines: dict[str, list[int]]

    def covers(self, path: str, line: int) -> bool:
        """Tell whether it runs this line."""
        return line in self.lines.get(path, ())


@contextmanager
def lines_run(paths: frozenset[str]) -> Iterator[dict[str, set[int]]]:
    """Collect the lines of these files that run in the block, in all threads that start meanwhile."""
    run: dict[str, set[int]] = {path: set() for path in paths}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        lines = run.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines.add(frame.f_lineno)

        def each_line(frame: FrameType, event: str, argument: Any) -> Any:
            lines.add(frame.f_lineno)
            return each_line

        return each_line

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield run
    finally:
        sys.settrace(before)
        threading.settrace(before)

"""Charts as data. matplotlib, which only the peers' environment contains, draws them as SVG."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from benchmarks.environments import ROOT, UnavailableError, interpreter

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 300.0


@dataclass(frozen=True)
class Series:
    """One line, or one colour of bars."""

    label: str
    y: list[float | None]
    """A value for each x of the chart; None leaves a gap."""
    low: list[float | None] | None = None
    high: list[float | None] | None = None
    """With ``low``, the spread: a shaded band for a line, a whisker for a bar."""
    strong: bool = False
    """Drawn thicker than the others."""
    colour: str | None = None
    """A matplotlib colour; None: the next of a fixed set."""


@dataclass(frozen=True)
class Chart:
    """The contents of a chart, for `draw`."""

    title: str
    x_label: str
    y_label: str
    x: list[float] | list[str]
    """Numbers for lines, names for bars and dots."""
    series: list[Series]
    kind: Literal["lines", "bars", "stacked", "dots"] = "lines"
    """Bars and dots are arranged in rows, one for each name."""
    log_x: bool = False
    log_y: bool = False
    levels: dict[str, float] = field(default_factory=dict)
    """Horizontal dashed lines, by their label."""
    size: tuple[float, float] = (7.2, 4.4)
    """Width and height in inches of 72 points."""
    note: str = ""
    """A line in small print below the chart."""


def draw(charts: dict[Path, Chart]) -> None:
    """Write each chart to its SVG file.

    Raises:
        UnavailableError: matplotlib cannot be installed, or failed.
    """
    python = interpreter("peers")
    wanted = [{"file": str(file), **asdict(chart)} for file, chart in charts.items()]
    done = subprocess.run(
        [python.python, "-m", "benchmarks.plots"], cwd=ROOT, env=python.variables, input=json.dumps(wanted),
        capture_output=True, text=True, timeout=_TIMEOUT,
    )  # fmt: skip
    if done.returncode:
        raise UnavailableError(f"the plots could not be drawn: {done.stderr.strip()}")

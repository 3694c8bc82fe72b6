"""Draws the charts that `benchmarks.charts` sends on standard input; runs in the peers' environment with matplotlib."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "font.family": ["Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rabibridge",  # the same figures produce the same file
}

from matplotlib import pyplot as plt  # noqa: E402 - after its settings
from matplotlib.ticker import FuncFormatter  # noqa: E402

_COLOURS = [
    "#d1242f",
    "#0969da",
    "#1a7f37",
    "#9a6700",
    "#8250df",
    "#bf3989",
    "#57606a",
    "#1b7c83",
    "#24292f",
    "#e16f24",
]
_MARKERS = "osD^vPX*hd"


def _plain(value: float, _: object) -> str:
    return f"{value:,.0f}" if abs(value) >= 1 or value == 0 else f"{value:g}"


def _gaps(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _lines(axes: Any, chart: dict[str, Any]) -> None:
    for number, series in enumerate(chart["series"]):
        colour = series["colour"] or _COLOURS[number % len(_COLOURS)]
        look = (
            {"linewidth": 3, "markersize": 6, "zorder": 3} if series["strong"] else {"linewidth": 1.5, "markersize": 4}
        )
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(chart["x"], _gaps(series["y"]), label=series["label"], color=colour, marker=marker, **look)
        if series["low"] and series["high"]:
            axes.fill_between(chart["x"], _gaps(series["low"]), _gaps(series["high"]), color=colour, alpha=0.12, lw=0)
    if chart["log_x"]:
        axes.set_xscale("log", base=2)
    if not any(isinstance(x, str) for x in chart["x"]) and len(chart["x"]) <= 10:
        axes.set_xticks(chart["x"])
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xlabel(chart["x_label"])


def _bars(axes: Any, chart: dict[str, Any]) -> None:
    """Draw horizontal bars, side by side or end to end, the first one at the top."""
    stacked, count = chart["kind"] == "stacked", len(chart["series"])
    height = 0.7 if stacked else 0.8 / count
    places = list(range(len(chart["x"])))
    so_far = [0.0] * len(places)
    for number, series in enumerate(chart["series"]):
        values = [value or 0.0 for value in series["y"]]
        at = places if stacked else [place + (number - (count - 1) / 2) * height for place in places]
        spread = None
        if series["low"] and series["high"]:
            triples = list(zip(values, series["low"], series["high"], strict=True))
            spread = [[y - (y if low is None else low) for y, low, _ in triples],
                      [(y if high is None else high) - y for y, _, high in triples]]  # fmt: skip
        axes.barh(
            at, values, height, left=so_far if stacked else None, label=series["label"], xerr=spread,
            color=series["colour"] or _COLOURS[number % len(_COLOURS)], error_kw={"lw": 0.8}, zorder=2,
        )  # fmt: skip
        so_far = [before + value for before, value in zip(so_far, values, strict=True)]
    axes.set_yticks(places, chart["x"])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _dots(axes: Any, chart: dict[str, Any]) -> None:
    """Draw a row of dots for each x, the first on top: on a logarithmic axis, the length of a bar says nothing."""
    places = list(range(len(chart["x"])))
    rows = [[value for value in row if value] for row in zip(*(one["y"] for one in chart["series"]), strict=True)]
    axes.hlines(places, [min(row) for row in rows], [max(row) for row in rows], color="#bbbbbb", linewidth=2, zorder=2)
    for number, series in enumerate(chart["series"]):
        colour = series["colour"] or _COLOURS[number % len(_COLOURS)]
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(_gaps(series["y"]), places, marker, label=series["label"], color=colour, markersize=7, zorder=3)
    axes.set_yticks(places, chart["x"])
    axes.invert_yaxis()
    axes.margins(y=0.06)


def _draw(chart: dict[str, Any]) -> None:
    figure, axes = plt.subplots(figsize=chart["size"], layout="constrained")
    lines = chart["kind"] == "lines"
    {"lines": _lines, "dots": _dots}.get(chart["kind"], _bars)(axes, chart)
    value_axis = axes.yaxis if lines else axes.xaxis
    if chart["log_y"]:
        (axes.set_yscale if lines else axes.set_xscale)("log")
    elif lines:
        axes.set_ylim(0, max([axes.get_ylim()[1], *(1.1 * level for level in chart["levels"].values())]))
    value_axis.set_major_formatter(FuncFormatter(_plain))
    (axes.set_ylabel if lines else axes.set_xlabel)(chart["y_label"])
    for text, level in chart["levels"].items():
        axes.axhline(level, color="#57606a", linestyle="--", linewidth=1, zorder=1)
        axes.annotate(text, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="#57606a",
                      fontsize=9)  # fmt: skip
    axes.set_title(chart["title"])
    if len(chart["series"]) > 1:
        if lines:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        else:
            figure.legend(loc="outside lower center", ncols=len(chart["series"]))
    if chart["note"]:
        figure.supxlabel(chart["note"], fontsize=8, color="#57606a")
    file = Path(chart["file"])
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)


if __name__ == "__main__":
    for one in json.load(sys.stdin):
        _draw(one)

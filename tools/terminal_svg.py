"""Draws recorded terminals as one SVG that moves, by CSS alone, so that it plays in an ``<img>``.

pyte interprets what the terminals got. Every run of cells that appears is one text, with the seconds in which it is to
be seen; a line that grows by what is typed keeps what it had. A reader who wants no motion sees the last picture.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

import pyte

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Event", "Recording", "draw"]

_WIDTH, _HEIGHT, _FONT = 7.2, 17, 12
_MARGIN, _BAR, _GAP = 10, 26, 12
_COLOURS = {
    "default": "#d6deeb", "black": "#7f8c98", "red": "#ff7a85", "green": "#8bd49c", "brown": "#e5c07b",
    "blue": "#82aaff", "magenta": "#c792ea", "cyan": "#7fdbca", "white": "#ffffff",
}  # fmt: skip
_STYLE = """text{font:%dpx ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}
.h{visibility:hidden}
.t{animation-duration:%.2fs;animation-iteration-count:infinite;animation-timing-function:step-end}
@media (prefers-reduced-motion:reduce){.t{animation:none}}
"""


class Event(NamedTuple):
    """What a terminal got.

    Attributes:
        at: when, in seconds since the recording began.
        pane: the name of the terminal.
        text: with escape sequences.
    """

    at: float
    pane: str
    text: str


class Recording(NamedTuple):
    """What several terminals got, in the order of time.

    Attributes:
        events: what they got.
        duration: how long it takes until it begins anew, in seconds.
        panes: the names of the terminals, from left to right.
        columns: width of each in characters.
        rows: height of each in lines.
    """

    events: Sequence[Event]
    duration: float
    panes: Sequence[str]
    columns: int
    rows: int


class _Cell(NamedTuple):
    """One character."""

    text: str
    colour: str
    bold: bool


class _Run(NamedTuple):
    """Characters of one style beside each other."""

    column: int
    text: str
    colour: str
    bold: bool


class _Shown(NamedTuple):
    """A run, where it is, and from when until when."""

    row: int
    run: _Run
    begin: float
    end: float


def draw(recording: Recording) -> str:
    """Return the SVG."""
    inner = recording.columns * _WIDTH + 2 * _MARGIN
    height = recording.rows * _HEIGHT + _BAR + 2 * _MARGIN
    width = len(recording.panes) * (inner + _GAP) - _GAP
    styles = _STYLE % (_FONT, recording.duration)
    frames: dict[tuple[float, float], str] = {}
    panes = "".join(
        _pane(recording, pane, at * (inner + _GAP), inner, height, frames) for at, pane in enumerate(recording.panes)
    )
    rules = "".join(_rule(name, *when, recording.duration) for when, name in frames.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img"><title>Two terminals: {" and ".join(recording.panes)}</title>'
        f"<style>{styles}{rules}</style>{panes}</svg>\n"
    )


def _pane(
    recording: Recording, pane: str, x: float, inner: float, height: float, frames: dict[tuple[float, float], str]
) -> str:
    texts = "".join(_text(shown, x, recording.duration, frames) for shown in _timeline(recording, pane))
    return (
        f'<rect x="{x:g}" width="{inner:g}" height="{height:g}" rx="8" fill="#10151f"/>'
        f'<text x="{x + _MARGIN:g}" y="{_BAR - 8}" fill="#7f8c98">{escape(pane)}</text>{texts}\n'
    )


def _text(shown: _Shown, x: float, duration: float, frames: dict[tuple[float, float], str]) -> str:
    run = shown.run
    left = x + _MARGIN + run.column * _WIDTH
    base = _BAR + _MARGIN + (shown.row + 1) * _HEIGHT - 5
    weight = ' font-weight="bold"' if run.bold else ""
    moves = ""
    if shown.begin > 0 or shown.end < duration:
        name = frames.setdefault((shown.begin, shown.end), f"k{len(frames)}")
        hidden = " h" if shown.end < duration else ""
        moves = f' class="t{hidden}" style="animation-name:{name}"'
    length = len(run.text) * _WIDTH
    return (
        f'<text x="{left:g}" y="{base:g}" textLength="{length:g}" fill="{run.colour}"{weight}{moves}>'
        f"{escape(run.text)}</text>"
    )


def _rule(name: str, begin: float, end: float, duration: float) -> str:
    """Return the keyframes of what is to be seen from ``begin`` to ``end``."""
    steps = [(0.0, "hidden")] if begin > 0 else []
    steps.append((begin / duration * 100, "visible"))
    if end < duration:
        steps.append((end / duration * 100, "hidden"))
    return f"@keyframes {name}{{{''.join(f'{at:.3f}%{{visibility:{how}}}' for at, how in steps)}}}\n"


def _timeline(recording: Recording, pane: str) -> Iterator[_Shown]:
    """Yield every run of a terminal with its time. A line that only grows keeps the runs that it has."""
    screen = pyte.Screen(recording.columns, recording.rows)
    stream = pyte.Stream(screen)
    lines: list[list[_Cell]] = [[] for _ in range(recording.rows)]
    shown: list[list[tuple[_Run, float]]] = [[] for _ in lines]
    for event in recording.events:
        if event.pane != pane:
            continue
        stream.feed(event.text)
        for row, before in enumerate(lines):
            now = _cells(screen, row)
            kept = len(before) if now[: len(before)] == before else 0
            if not kept:
                yield from (_Shown(row, run, begin, event.at) for run, begin in shown[row])
                shown[row] = []
            shown[row] += [(run, event.at) for run in _runs(now, kept)]
            lines[row] = now
    for row, runs in enumerate(shown):
        yield from (_Shown(row, run, begin, recording.duration) for run, begin in runs)


def _cells(screen: pyte.Screen, row: int) -> list[_Cell]:
    """Return the cells of a line, without spaces at its end."""
    line = screen.buffer[row]
    cells = [
        _Cell(cell.data, _COLOURS.get(cell.fg, f"#{cell.fg}"), cell.bold)
        for cell in map(line.__getitem__, range(screen.columns))
    ]
    while cells and cells[-1].text == " ":
        cells.pop()
    return cells


def _runs(cells: Sequence[_Cell], start: int) -> Iterator[_Run]:
    """Yield the runs of a line from a column on; a space belongs to any style."""
    text, begin, style = "", start, ("", False)
    for column, cell in enumerate(cells[start:], start):
        if cell.text != " " and (cell.colour, cell.bold) != style:
            if text.strip():
                yield _Run(begin, text, *style)
            text, begin, style = "", column, (cell.colour, cell.bold)
        if text or cell.text != " ":
            text += cell.text
    if text.strip():
        yield _Run(begin, text.rstrip(), *style)

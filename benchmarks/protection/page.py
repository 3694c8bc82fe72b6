"""Renders what protection costs as Markdown, between two markers of a page."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.compare.page import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.protection.measure import Turn

__all__ = ["markdown"]


def markdown(measured: Mapping[int, Mapping[str, Sequence[Turn]]], date: str, turns: int) -> str:
    """Return a table for each size; the first way is what the others are compared with, turn by turn."""
    parts = [f"Measured on {date}: medians of {turns} turns, 64 calls in flight. More than plain in brackets."]
    for size, ways in measured.items():
        plain = next(iter(ways.values()))
        rows = [
            [way, *(_cell(found, plain, what, compared=found is not plain) for what in ("elapsed", "client", "server"))]
            for way, found in ways.items()
        ]
        parts.append(f"Argument and result of {size:,} bytes:")
        head = ["", "time for a call in µs", "CPU of the client in µs", "CPU of the server in µs"]
        parts.append(table(head, rows))
    return "\n\n".join(parts) + "\n"


def _cell(found: Sequence[Turn], plain: Sequence[Turn], what: str, *, compared: bool) -> str:
    values = [getattr(turn, what) * 1e6 for turn in found]
    text = f"{median(values):,.1f}"
    if compared:
        more = median(value - getattr(turn, what) * 1e6 for value, turn in zip(values, plain, strict=True))
        share = median(value / (getattr(turn, what) * 1e6) for value, turn in zip(values, plain, strict=True)) - 1
        text += f" ({more:+,.1f}, {share:+.1%})"
    return text

"""Renders the figures of synchronous callers as Markdown, between two markers of a page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.compare.page import table
from benchmarks.synchronous.roster import CONTENDERS, US

if TYPE_CHECKING:
    from benchmarks.synchronous.measure import SyncMeasured, SyncRound

__all__ = ["THREADS_OF_TARGET", "lead", "markdown"]

_TARGET = 4.0
THREADS_OF_TARGET = 16


def lead(measured: SyncMeasured, threads: int = THREADS_OF_TARGET) -> float | None:
    """Return how many times as many calls/s as the best of the others we make; ``None``: not measured."""
    rates = {name: _rate(rounds[threads]) for name, rounds in measured.rounds.items() if rounds.get(threads)}
    ours = rates.pop(US, None)
    return None if ours is None or not rates else ours / max(rates.values())


def markdown(measured: SyncMeasured, date: str, rounds: int, seconds: float) -> str:
    """Return the tables."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(measured.versions.items()))
    text = f"Measured on {date}, {rounds} rounds of {seconds:g} s: {versions}.\n\n"
    text += table(*_figures(measured))
    if (times := lead(measured)) is not None:
        reached = "reached" if times >= _TARGET else "**not reached**"
        text += (
            f"\n\nWith {THREADS_OF_TARGET} threads, RabiBridge makes {times:.1f} times as many calls/s as the best of "
            f"the others; the target, at least {_TARGET:g} times, is {reached}."
        )
    for name, reason in measured.left_out.items():
        text += f"\n\nLeft out: {CONTENDERS[name].title}, {reason.splitlines()[0]}"
    rows = [[CONTENDERS[name].title, CONTENDERS[name].does] for name in measured.rounds]
    return text + "\n\n" + table(["", "what it does for a call"], rows, numbers=False) + "\n"


def _figures(measured: SyncMeasured) -> tuple[list[str], list[list[str]]]:
    counts = sorted({count for rounds in measured.rounds.values() for count in rounds})
    head = [""]
    for count in counts:
        of = f"{count} thread{'s' if count > 1 else ''}"
        head += [f"calls/s, {of}", "median latency in µs", "CPU of the client per call in µs"]
    rows = []
    for name, rounds in measured.rounds.items():
        cells = [CONTENDERS[name].title]
        for count in counts:
            known = rounds[count]
            rates = [one.rate for one in known]
            cells.append(f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
            cells += [f"{1e6 * statistics.median(one.p50 for one in known):,.0f}"]
            cells += [f"{1e6 * statistics.median(one.client for one in known):,.0f}"]
        rows.append(cells)
    return head, rows


def _rate(rounds: list[SyncRound]) -> float:
    return statistics.median(one.rate for one in rounds)

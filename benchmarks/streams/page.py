"""Renders the figures of streams as Markdown, between two markers of a page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.compare.page import table
from benchmarks.streams.roster import CONTENDERS, GRPC, LIMIT, US

if TYPE_CHECKING:
    from benchmarks.streams.measure import StreamMeasured, StreamRound

__all__ = ["markdown", "targets"]

_SMALL_TIMES, _LARGE_TIMES, _LARGE_MIB, _FIRST_TIMES = 12.0, 3.0, 500.0, 1.2
"""Targets: times the small items/s of grpc.aio; times its MiB/s, or that many MiB/s, whichever is less; and at most so
many times as long to the first item as a call takes."""


def targets(measured: StreamMeasured) -> list[str]:
    """Return what was reached of each target, as sentences."""
    ours, theirs, limit = (measured.rounds.get(name) for name in (US, GRPC, LIMIT))
    if not ours:
        return []
    first = _ratio(ours, "first", ours, "call")
    found = [
        f"The first item takes {first:.2f} times as long as a call; the target, at most {_FIRST_TIMES:g} times, is "
        f"{_reached(first <= _FIRST_TIMES)}."
    ]
    if theirs:
        small, large = (_ratio(ours, what, theirs, what) for what in ("items", "mib"))
        wanted = min(_LARGE_MIB, _LARGE_TIMES * (_median(theirs, "mib") or 0))
        found += [
            f"Small items: {small:.1f} times as many per second as grpc.aio; the target, at least {_SMALL_TIMES:g} "
            f"times, is {_reached(small >= _SMALL_TIMES)}.",
            f"Items of 64 KiB: {large:.2f} times as many MiB/s as grpc.aio; the target, {wanted:,.0f} MiB/s "
            f"({_LARGE_TIMES:g} times, or {_LARGE_MIB:g} MiB/s if that is less), is "
            f"{_reached((_median(ours, 'mib') or 0) >= wanted)}.",
        ]
    if limit:
        share = _ratio(ours, "mib", limit, "mib")
        found.append(f"RabiBridge reaches {share:.2f} times the practical limit of RabbitMQ with items of 64 KiB.")
    return found


def markdown(measured: StreamMeasured, date: str, rounds: int, seconds: float) -> str:
    """Return the tables."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(measured.versions.items()))
    text = f"Measured on {date}, {rounds} rounds of {seconds:g} s: {versions}.\n\n"
    head = [
        "", "items of 16 bytes per s", "CPU of the reader per item in µs", "MiB/s, items of 64 KiB",
        "first item in µs", "a call in µs",
    ]  # fmt: skip
    rows = []
    for name, known in measured.rounds.items():
        rates = [one.items for one in known if one.items is not None]
        rows.append([
            CONTENDERS[name].title,
            f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})" if rates else "-",
            _cell(known, "cpu", 1e6, 1), _cell(known, "mib", 1, 0), _cell(known, "first", 1e6, 0),
            _cell(known, "call", 1e6, 0),
        ])  # fmt: skip
    text += "\n\n".join([table(head, rows), *targets(measured)])
    for name, reason in measured.left_out.items():
        text += f"\n\nLeft out: {CONTENDERS[name].title}, {reason.splitlines()[0]}"
    does = [[CONTENDERS[name].title, CONTENDERS[name].does, CONTENDERS[name].lacks] for name in measured.rounds]
    return text + "\n\n" + table(["", "what it does for a stream", "what it lacks"], does, numbers=False) + "\n"


def _median(rounds: list[StreamRound], what: str) -> float | None:
    found = [value for one in rounds if (value := getattr(one, what)) is not None]
    return statistics.median(found) if found else None


def _ratio(ours: list[StreamRound], what: str, theirs: list[StreamRound], other: str) -> float:
    return (_median(ours, what) or 0) / (_median(theirs, other) or float("inf"))


def _cell(rounds: list[StreamRound], what: str, times: float, digits: int) -> str:
    value = _median(rounds, what)
    return "-" if value is None else f"{times * value:,.{digits}f}"


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "**not reached**"

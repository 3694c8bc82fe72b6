"""Renders the figures as Markdown, between two markers of a page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.compare.figures import MANY, ONE, median, values
from benchmarks.compare.payloads import PAYLOADS
from benchmarks.roster import BASELINE, ENTRIES, US

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.compare.report import Report

_MIB = 2**20


def markdown(report: Report) -> str:
    """Return all tables of a run; tables of parts that were not run are omitted."""
    parts = [_machine(report), _targets(report)]
    if report.measured.rounds:
        parts += [_throughput(report), _latency(report), _cost(report), _semantics(report)]
    if report.payloads:
        parts.append(_payloads(report))
    if report.footprint is not None:
        parts.append(_footprint(report))
    return "\n\n".join(parts) + "\n"


def table(head: list[str], rows: Iterable[list[str]], *, numbers: bool = True) -> str:
    """Render a table; with ``numbers``, all columns except the first are right-aligned."""
    rule = ["---", *("---:" if numbers else "---" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _machine(report: Report) -> str:
    rounds, seconds = report.settings["rounds"], report.settings["seconds"]
    text = f"Measured on {report.machine['date']}, {rounds:g} rounds of {seconds:g} s.\n\n"
    text += table(
        ["environment", "value"], [[*fact] for fact in report.machine.items() if fact[0] != "date"], numbers=False
    )
    for name, reason in report.measured.left_out.items():
        text += f"\n\nLeft out: {ENTRIES[name].title}, {reason.splitlines()[0]}"
    return text


def _targets(report: Report) -> str:
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [[one.label, one.wanted, one.measured, words[one.reached]] for one in report.targets()]
    return "### Targets\n\n" + table(["RabiBridge", "target", "measured", "reached"], rows)


def _throughput(report: Report) -> str:
    rounds, in_flights = report.measured.rounds, report.in_flights
    rows = []
    for name in rounds:
        cells = [ENTRIES[name].title]
        for in_flight in in_flights:
            known = values(rounds, name, in_flight, "rate")
            cells.append(f"{statistics.median(known):,.0f} ({min(known):,.0f} to {max(known):,.0f})")
        rows.append(cells)
    head = ["", *(f"{in_flight:,} in flight" for in_flight in in_flights)]
    return "### Calls per second\n\nMedians, with the lowest and the highest round.\n\n" + table(head, rows)


def _latency(report: Report) -> str:
    rounds, shown = report.measured.rounds, [one for one in (ONE, MANY) if one in report.in_flights]
    head, rows = [""], []
    for in_flight in shown:
        head += [f"{in_flight} in flight: median", "p95", "p99"]
    for name in rounds:
        cells = [_micro(median(rounds, name, n, field)) for n in shown for field in ("p50", "p95", "p99")]
        rows.append([ENTRIES[name].title, *cells])
    return "### Latency in µs\n\n" + table(head, rows)


def _cost(report: Report) -> str:
    rounds, shown = report.measured.rounds, [one for one in (ONE, MANY) if one in report.in_flights]
    head, rows = [""], []
    for in_flight in shown:
        head += [f"{in_flight} in flight: client", "server", "broker"]
    for name in rounds:
        cells = [_milli(median(rounds, name, n, field)) for n in shown for field in ("client", "server", "broker")]
        peaks = report.measured.peaks.get(name, {})
        cells += [_mib(peaks.get(side)) for side in ("client", "server")]
        rows.append([ENTRIES[name].title, *cells])
    head += ["peak memory, MiB: client", "server"]
    return "### CPU seconds per 1,000 calls, and peak memory\n\n" + table(head, rows)


def _semantics(report: Report) -> str:
    rows = [[entry.title, entry.does, entry.lacks] for entry in map(ENTRIES.__getitem__, report.measured.rounds)]
    return "### What each contender does for a call\n\n" + table(["", "does", "lacks"], rows, numbers=False)


def _payloads(report: Report) -> str:
    head = ["payload (random bytes), both ways", "in flight", "RabiBridge MB/s", "aio_pika RPC MB/s", "ratio"]
    head += ["memory growth, MiB: RabiBridge", "aio_pika RPC", "peak memory, MiB: RabiBridge", "aio_pika RPC"]
    rows = []
    for payload in PAYLOADS:
        both = [report.payloads[payload.label][name] for name in (US, BASELINE)]
        medians = [statistics.median(one.rates) for one in both]
        cells = [payload.label, str(payload.in_flight), *(f"{rate / 1e6:,.1f}" for rate in medians)]
        cells.append(f"{medians[0] / medians[1]:.1f}")
        cells += [f"{one.growth / _MIB:+.1f}" for one in both] + [_mib(one.peak) for one in both]
        rows.append(cells)
    return "### Large arguments and results\n\n" + table(head, rows)


def _footprint(report: Report) -> str:
    assert report.footprint is not None
    imports = {name: statistics.median(taken) * 1e3 for name, taken in report.footprint.imports.items()}
    bare, both = imports["bare"], ("ours", "aio_pika")
    rows = [
        ["import, without the bare interpreter, ms", *(f"{imports[name] - bare:.0f}" for name in both)],
        ["whole process, ms", *(f"{imports[name]:.0f}" for name in both)],
        ["resident memory of an idle client, MiB", *(_mib(report.footprint.idle[name]) for name in both)],
    ]
    note = f"An interpreter that imports nothing takes {bare:.0f} ms."
    return "### Footprint\n\n" + table(["", "RabiBridge", "aio_pika"], rows) + f"\n\n{note}"


def _micro(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:,.0f}"


def _milli(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.4f}"


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / _MIB:.1f}"

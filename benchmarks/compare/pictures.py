"""Draws the charts of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.charts import Chart, Series, draw
from benchmarks.compare.figures import MANY, ONE, median, values
from benchmarks.roster import BASELINE, ENTRIES, US

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.compare.report import Report
    from benchmarks.compare.rounds import Rounds

_COLOURS = {
    US: "#d1242f", BASELINE: "#0969da", "rabibridge_012": "#bf3989", "faststream_rpc": "#9a6700",
    "patio_rabbitmq": "#57606a", "raw_aiormq": "#1b7c83", "grpc_aio": "#8250df", "nats_py": "#1a7f37",
    "c_librabbitmq": "#24292f",
}  # fmt: skip


def draw_all(report: Report, folder: Path) -> None:
    """Write all charts to the folder.

    Raises:
        UnavailableError: matplotlib cannot be installed.
    """
    rounds, in_flights = report.measured.rounds, report.in_flights
    charts = {"throughput.svg": _throughput(rounds, in_flights)}
    for in_flight in (ONE, MANY):
        if in_flight in in_flights:
            charts[f"latency-{in_flight}.svg"] = _latency(rounds, in_flight)
    if MANY in in_flights:
        charts["cpu.svg"] = _cpu(rounds)
    draw({folder / name: chart for name, chart in charts.items()})


def _throughput(rounds: Rounds, in_flights: list[int]) -> Chart:
    series = []
    for name in rounds:
        if name not in _COLOURS:  # on asyncio's loop: two more lines would hide the others
            continue
        known = [values(rounds, name, in_flight, "rate") for in_flight in in_flights]
        series.append(
            Series(
                ENTRIES[name].title,
                [median(rounds, name, in_flight, "rate") for in_flight in in_flights],
                low=[min(one) for one in known],
                high=[max(one) for one in known],
                strong=name == US,
                colour=_COLOURS[name],
            )
        )
    return Chart(
        "Calls per second", "calls in flight", "calls/s", list(map(float, in_flights)), series,
        log_x=True, log_y=True, size=(8.2, 4.8), note="one client and one server process; the shade is the spread",
    )  # fmt: skip


def _latency(rounds: Rounds, in_flight: int) -> Chart:
    names = list(rounds)
    series = [
        Series(label, [_scaled(median(rounds, name, in_flight, field), 1e6) for name in names], colour=colour)
        for label, field, colour in (
            ("median", "p50", "#0969da"),
            ("95th percentile", "p95", "#9a6700"),
            ("99th percentile", "p99", "#d1242f"),
        )
    ]
    title = "Latency, one call at a time" if in_flight == 1 else f"Latency, {in_flight} calls in flight"
    titles = [ENTRIES[name].title for name in names]
    return Chart(title, "", "µs", titles, series, kind="dots", log_y=True, size=(8.2, 4.4))


def _cpu(rounds: Rounds) -> Chart:
    names = list(rounds)
    series = [
        Series(side, [_scaled(median(rounds, name, MANY, side), 1e6) for name in names], colour=colour)
        for side, colour in (("client", "#0969da"), ("server", "#1a7f37"), ("broker", "#d4a72c"))
    ]
    titles = [ENTRIES[name].title for name in names]
    return Chart(f"CPU per call, {MANY} calls in flight", "", "µs", titles, series, kind="stacked", size=(8.2, 4.4))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor

"""Renders the figures over Redis as Markdown, between two markers of a page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.compare.figures import MANY, median, ratio, values
from benchmarks.compare.page import table
from benchmarks.roster import BESIDE_REDIS, ENTRIES, OVER_REDIS, US

if TYPE_CHECKING:
    from benchmarks.compare.rounds import Measured, Rounds

_PEERS = [name for name in BESIDE_REDIS if name not in (US, OVER_REDIS)]
_LEAST_OF_PEERS, _LEAST_OF_RABBITMQ = 8.0, 0.7


def markdown(
    measured: Measured, machine: dict[str, str], in_flight: list[int], date: str, rounds: int, seconds: float
) -> str:
    """Return the tables, and whether the targets are reached."""
    shown = ("CPU", "Python", "RabbitMQ", "redis-server", "rabibridge-redis", "arq", "taskiq-redis", "celery", "uvloop")
    versions = ", ".join(f"{name} {machine[name]}" for name in shown if name in machine)
    parts = [f"Measured on {date}, {rounds} rounds of {seconds:g} s: {versions}."]
    parts += [f"Left out: {ENTRIES[name].title}, {why.splitlines()[0]}" for name, why in measured.left_out.items()]
    parts += [_figures(measured.rounds, in_flight), *_targets(measured.rounds, in_flight), _semantics(measured.rounds)]
    return "\n\n".join(parts) + "\n"


def _figures(rounds: Rounds, in_flights: list[int]) -> str:
    head, rows = [""], []
    for in_flight in in_flights:
        head += [f"calls/s, {in_flight} in flight", "median latency in µs", "CPU per call in µs: client", "server"]
        head += ["broker"]
    for name in rounds:
        cells = [ENTRIES[name].title + (" over RabbitMQ" if name == US else "")]
        for in_flight in in_flights:
            known = values(rounds, name, in_flight, "rate")
            cells.append(f"{statistics.median(known):,.0f} ({min(known):,.0f} to {max(known):,.0f})")
            for field in ("p50", "client", "server", "broker"):
                value = median(rounds, name, in_flight, field)
                cells.append("-" if value is None else f"{value * 1e6:,.0f}")
        rows.append(cells)
    return table(head, rows)


def _cpu(rounds: Rounds, name: str, in_flight: int) -> float | None:
    parts = [median(rounds, name, in_flight, field) for field in ("client", "server", "broker")]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _targets(rounds: Rounds, in_flights: list[int]) -> list[str]:
    if MANY not in in_flights or OVER_REDIS not in rounds:
        return []
    found = []
    ours = median(rounds, OVER_REDIS, MANY, "rate")
    best = max((median(rounds, name, MANY, "rate") or 0.0 for name in _PEERS if name in rounds), default=0.0)
    for what, theirs, least in (
        ("times as many calls/s as the best of the other libraries over Redis", best, _LEAST_OF_PEERS),
        ("times as many calls/s as over RabbitMQ", median(rounds, US, MANY, "rate"), _LEAST_OF_RABBITMQ),
    ):
        times = ratio(ours, theirs)
        if times is not None:
            reached = "is reached" if times >= least else "is **not** reached"
            found.append(
                f"With {MANY} calls in flight, RabiBridge over Redis makes {times:.2f} {what}; the target, at least "
                f"{least:g} times, {reached}."
            )
    cost = ratio(_cpu(rounds, OVER_REDIS, MANY), _cpu(rounds, US, MANY))
    if cost is not None:
        found.append(
            f"A call over Redis costs {cost:.2f} times the CPU of one over RabbitMQ, all three processes together."
        )
    return found


def _semantics(rounds: Rounds) -> str:
    rows = [[entry.title, entry.does, entry.lacks] for entry in map(ENTRIES.__getitem__, rounds)]
    return table(["", "what it does for a call", "what it lacks"], rows, numbers=False)

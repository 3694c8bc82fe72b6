"""Medians and ratios of the measurements."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.roster import BASELINE, US

if TYPE_CHECKING:
    from benchmarks.compare.rounds import Rounds

ONE, MANY = 1, 128


def values(rounds: Rounds, name: str, in_flight: int, field: str) -> list[float]:
    """Return one figure of each round; rounds without it are omitted."""
    return [value for one in rounds[name][in_flight] if (value := getattr(one, field)) is not None]


def median(rounds: Rounds, name: str, in_flight: int, field: str) -> float | None:
    """Return the median of a figure; None if it was not measured."""
    if in_flight not in rounds.get(name, ()):
        return None
    known = values(rounds, name, in_flight, field)
    return statistics.median(known) if known else None


def ratio(over: float | None, under: float | None) -> float | None:
    """Return ``over`` / ``under``; None if one of them is unknown or ``under`` is 0."""
    return None if over is None or not under else over / under


def ratios(rounds: Rounds) -> dict[str, float]:
    """Return by how much RabiBridge is better than aio_pika's RPC pattern, for each figure."""
    ours, theirs = (median(rounds, name, MANY, "rate") for name in (US, BASELINE))
    found: dict[str, float | None] = {f"calls/s, {MANY} in flight": ratio(ours, theirs)}
    for in_flight, field, label in (
        (ONE, "p50", "median latency, 1 in flight"),  # more robust than calls/s, which a few slow calls change a lot
        (MANY, "client", f"CPU of the client, {MANY} in flight"),
        (MANY, "server", f"CPU of the server, {MANY} in flight"),
    ):
        ours, theirs = (median(rounds, name, in_flight, field) for name in (US, BASELINE))
        found[label] = ratio(theirs, ours)
    return {label: round(value, 2) for label, value in found.items() if value is not None}

"""Sorts what was counted into families of metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rabibridge_telemetry._metrics.buckets import by_slot, classic_buckets, native_buckets
from rabibridge_telemetry._metrics.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._observability.metric_totals import Exemplar, MetricTotals
    from rabibridge_telemetry._metrics.catalog import Family

__all__ = ["HistogramValue", "Point", "families_of"]


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """The value of a histogram.

    Attributes:
        count: how many durations it counts.
        total: their sum, in seconds.
        classic: the cumulative counts of the classic buckets with their upper bounds, the last one infinity.
        native: the counts of the native buckets, by their index.
        exemplars: of the classic buckets, by their number.
    """

    count: int
    total: float
    classic: Sequence[tuple[float, int]]
    native: Mapping[int, int]
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a family, with its labels."""

    labels: Mapping[str, str]
    value: float | HistogramValue


def families_of(totals: MetricTotals) -> list[tuple[Family, list[Point]]]:
    """Return the families that have values, in the order of the catalog, each with its points in order of labels.

    What a worker with newer code counts, and this version does not know, is left out.
    """
    found: dict[str, list[Point]] = {}
    for series, number in totals.numbers.items():
        family = CATALOG.get(series.name)
        if family is not None and family.type != "histogram":
            value = min(number, 1.0) if family.type == "info" else number
            if series.kind == "seconds":
                value = number / 1e9
            if family.type != "info" or number:
                found.setdefault(family.key, []).append(Point(dict(series.labels), value))
    exemplars = {(series.name, series.labels): kept for series, kept in totals.exemplars.items()}
    for series, cells in totals.histograms.items():
        family = CATALOG.get(series.name)
        if family is not None and family.type == "histogram":
            counts, total = cells[:-1], cells[-1] / 1e9
            classic = classic_buckets(counts)
            kept = by_slot(exemplars.get((series.name, series.labels), {}))
            value_of = HistogramValue(classic[-1][1], total, classic, native_buckets(counts), kept)
            found.setdefault(family.key, []).append(Point(dict(series.labels), value_of))
    return [
        (family, sorted(found[key], key=lambda point: tuple(point.labels.values())))
        for key, family in CATALOG.items()
        if key in found
    ]

"""Writes metrics in the format that a scraper asks for."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from rabibridge_telemetry._metrics.families import HistogramValue, families_of
from rabibridge_telemetry._metrics.protobuf import PROTOBUF_TYPE, write_protobuf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from rabibridge_core._observability.metric_totals import Exemplar, MetricTotals
    from rabibridge_telemetry._metrics.catalog import Family
    from rabibridge_telemetry._metrics.families import Point

__all__ = ["expose", "prometheus_metrics"]


def prometheus_metrics(families: Iterable[tuple[Family, Iterable[Point]]]) -> Iterator[Metric]:
    """Return the families as prometheus_client knows them: histograms with their classic buckets."""
    from prometheus_client.core import Metric

    for family, points in families:
        metric = Metric(family.name, family.meaning, family.type, family.unit)
        for point in points:
            labels = dict(point.labels)
            if isinstance(point.value, HistogramValue):
                _add_histogram(metric, labels, point.value)
            else:
                metric.add_sample(family.sample, labels, point.value)
        yield metric


def _add_histogram(metric: Metric, labels: dict[str, str], value: HistogramValue) -> None:
    for slot, (bound, count) in enumerate(value.classic):
        exemplar = value.exemplars.get(slot)
        metric.add_sample(
            f"{metric.name}_bucket", {**labels, "le": "+Inf" if bound == inf else repr(bound)}, count,
            exemplar=None if exemplar is None else _exemplar(exemplar),
        )  # fmt: skip
    metric.add_sample(f"{metric.name}_count", labels, value.count)
    metric.add_sample(f"{metric.name}_sum", labels, value.total)


def _exemplar(exemplar: Exemplar) -> Any:
    from prometheus_client.core import Exemplar as Shown

    return Shown({"trace_id": exemplar.trace_id, "span_id": exemplar.span_id}, exemplar.value, exemplar.time)


class _Fixed:
    """What prometheus_client writes: a collector of fixed metrics."""

    def __init__(self, totals: MetricTotals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        return prometheus_metrics(families_of(self._totals))


def expose(totals: MetricTotals, accept: str) -> tuple[bytes, str]:
    """Return metrics in the format that an ``Accept`` header asks for, and its content type.

    Protocol buffers if it prefers them, as a Prometheus does that stores native histograms; else OpenMetrics if it
    takes that, which has exemplars; else the text format that everybody reads.
    """
    if _prefers_protobuf(accept):
        return write_protobuf(families_of(totals)), PROTOBUF_TYPE
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    return encode(_Fixed(totals)), content_type


def _prefers_protobuf(accept: str) -> bool:
    best, found = 0.0, False
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        try:
            quality = float(next((one[2:] for one in parameters if one.startswith("q=")), "1"))
        except ValueError:
            continue
        is_protobuf = kind == "application/vnd.google.protobuf" and (
            "proto=io.prometheus.client.metricfamily" in parameters and "encoding=delimited" in parameters
        )
        if is_protobuf and quality > 0:
            best, found = max(best, quality), True
        elif quality > best and kind in ("application/openmetrics-text", "text/plain"):
            best, found = quality, False
    return found

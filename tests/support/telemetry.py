"""OpenTelemetry in this process: one provider for all tests, since a process can set it only once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rabibridge_core.settings import Settings
from rabibridge_core.settings.endpoints import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["Collected", "collected", "traced_settings"]


class Collected:
    """What this process has sent to its exporters."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(provider)
        self._reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([self._reader]))
        self.tracer = trace.get_tracer("tests")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str, kind: trace.SpanKind) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name and span.kind is kind]

    def one(self, name: str, kind: trace.SpanKind) -> ReadableSpan:
        (span,) = self.named(name, kind)
        return span

    def clear(self) -> None:
        self._exporter.clear()

    def points(self, name: str) -> list[dict[str, object]]:
        """Return the attributes of each time series of a metric."""
        data = self._reader.get_metrics_data()
        return [
            dict(point.attributes or {})
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@cache
def collected() -> Collected:
    """Return the exporters of this process."""
    return Collected()


def traced_settings(name: str, **more: object) -> Settings:
    """Return settings for a broker in memory, with OpenTelemetry switched on."""
    return Settings(endpoints=(Endpoint(name, scheme="memory"),), opentelemetry=True, **more)  # type: ignore[arg-type]

"""Spans that are put together when they are exported: an exporter gets of them what it gets of all others."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from rabibridge_telemetry._opentelemetry.sampling import Spans


def _spans(
    processor: type[BatchSpanProcessor | SimpleSpanProcessor] = BatchSpanProcessor, **more: Any
) -> tuple[Spans, TracerProvider, InMemorySpanExporter]:
    provider, exporter = TracerProvider(**more), InMemorySpanExporter()
    provider.add_span_processor(processor(exporter))
    return Spans("1", provider), provider, exporter


def _started(spans: Spans, context: Context | None = None) -> SdkSpan:
    parent = None
    if context is not None:
        parent = trace.get_current_span(context).get_span_context()
    assert spans.dropped(parent) is None
    span = spans.start(context or Context(), "service", SpanKind.CLIENT, {"a": 1})
    assert isinstance(span, SdkSpan)
    return span


def _is_deferred(span: object) -> bool:
    return type(span).__name__ == "DeferredSpan"


def test_spans_are_deferred_only_where_nobody_sees_them_before_they_are_exported() -> None:
    spans, provider, exporter = _spans()
    before = _started(spans)
    assert _is_deferred(before)
    assert before.is_recording()
    provider.add_span_processor(SimpleSpanProcessor(later := InMemorySpanExporter()))
    after = _started(spans)
    assert not _is_deferred(after)
    before.end()
    after.end()
    assert [span.context for span in later.get_finished_spans()] == [before.context, after.context]
    provider.force_flush()
    assert [span.context for span in exporter.get_finished_spans()] == [before.context, after.context]
    assert not _is_deferred(_started(_spans(SimpleSpanProcessor)[0]))
    assert not _is_deferred(_started(Spans("1", TracerProvider())))


def test_a_span_that_has_ended_is_exported_once_and_is_not_changed() -> None:
    spans, provider, exporter = _spans()
    span = _started(spans)
    span.end(span.began + 5)  # type: ignore[attr-defined]
    assert not span.is_recording()
    span.set_attribute("late", 1)
    span.set_attribute("late list", [1])
    span.add_event("late")
    span.end()
    assert dict(span.attributes or {}) == {"a": 1}
    provider.force_flush()
    (exported,) = exporter.get_finished_spans()
    assert dict(exported.attributes or {}) == {"a": 1}
    assert exported.events == ()
    assert exported.start_time is not None
    assert exported.end_time == exported.start_time + 5
    assert span.name == exported.name == "service"


def test_a_span_that_the_program_looks_into_is_one_of_the_sdk_with_the_same_ids_and_start() -> None:
    spans, provider, exporter = _spans()
    span = _started(spans)
    ids, began = span.get_span_context(), span.began  # type: ignore[attr-defined]
    span.set_attribute("first", 1)
    assert isinstance(span, ReadableSpan)
    assert dict(span.attributes or {}) == {"a": 1, "first": 1}
    with pytest.raises(ValueError, match="planned"), trace.use_span(span, end_on_exit=True):
        raise ValueError("planned")
    span.end()
    provider.force_flush()
    (exported,) = exporter.get_finished_spans()
    assert exported.context == ids == span.context
    assert exported.start_time == began == span.start_time
    assert exported.status.status_code is StatusCode.ERROR
    assert [event.name for event in exported.events] == ["exception"]


def test_the_block_of_a_span_ends_it() -> None:
    spans, provider, exporter = _spans()
    with _started(spans) as span:
        span.set_status(Status(StatusCode.OK))
    with pytest.raises(ValueError, match="planned"), _started(spans):
        raise ValueError("planned")
    with _started(spans):
        pass
    provider.force_flush()
    found = [span.status.status_code for span in exporter.get_finished_spans()]
    assert found == [StatusCode.OK, StatusCode.ERROR, StatusCode.UNSET]


@pytest.mark.parametrize("flags", [1, 3])
def test_a_child_has_the_trace_the_flags_and_the_state_of_its_parent(flags: int) -> None:
    state = TraceState([("vendor", "value")])
    parent = SpanContext(2**100 + 1, 2**40, True, TraceFlags(flags), state)
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    children = []
    for processor in (BatchSpanProcessor, SimpleSpanProcessor):
        spans, provider, exporter = _spans(processor)
        span = _started(spans, context)
        assert _is_deferred(span) == (processor is BatchSpanProcessor)
        span.end()
        provider.force_flush()
        (exported,) = exporter.get_finished_spans()
        assert exported.parent == parent
        assert exported.context is not None
        assert exported.context == span.get_span_context()
        children.append((exported.context.trace_id, exported.context.trace_flags, exported.context.trace_state))
    assert children[0] == children[1]
    assert children[0][0] == parent.trace_id


def test_a_trace_begins_with_the_id_that_the_sampler_takes() -> None:
    spans, provider, exporter = _spans(sampler=ParentBased(TraceIdRatioBased(0.05)))
    begun: list[SpanContext] = []
    while len(begun) < 50:
        spans.dropped_roots()
        if spans.begins:
            started = spans.start_root("service", SpanKind.CLIENT, {})
            assert started is not None
            span, header = started
            assert (
                header == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"
            )
            assert span.context.trace_id % 2**64 < 0.05 * 2**64
            if len(begun) % 2:
                span.add_event("makes it one of the SDK")
            span.end()
            begun.append(span.context)
        assert not spans.begins
    provider.force_flush()
    assert [span.context for span in exporter.get_finished_spans()] == begun
    assert len({context.trace_id for context in begun}) == 50


def test_limits_and_links_of_a_span_that_became_one_of_the_sdk_are_those_of_the_provider() -> None:
    spans, provider, exporter = _spans(span_limits=SpanLimits(max_links=1, max_attribute_length=2))
    span = _started(spans)
    span.set_attribute("long", "text")
    for _ in range(2):
        span.add_link(span.get_span_context(), {"long": "text"})
    span.end()
    provider.force_flush()
    (exported,) = exporter.get_finished_spans()
    assert dict(exported.attributes or {}) == {"a": 1, "long": "te"}
    assert exported.dropped_links == 1
    assert [isinstance(link, Link) and dict(link.attributes or {}) for link in exported.links] == [{"long": "te"}]


@pytest.mark.parametrize("ends", ["force_flush", "shutdown"])
def test_what_has_ended_is_exported_when_the_provider_is_flushed_or_shut_down(ends: str) -> None:
    spans, provider, exporter = _spans()
    for _ in range(10):
        _started(spans).end()
    getattr(provider, ends)()
    assert len(exporter.get_finished_spans()) == 10

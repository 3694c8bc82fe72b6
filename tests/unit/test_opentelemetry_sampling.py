"""Calls of a program that samples few of them, and measures none: most of them get neither a span nor an observer."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind

from rabibridge_telemetry._opentelemetry.headers import span_context_of
from rabibridge_telemetry._opentelemetry.sampling import Spans
from tests.support import fork_server
from tests.support.fork_server import server_of_scripts

PROGRAM = """
import asyncio, json, os, warnings

from opentelemetry import context as contexts, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from rabibridge_core import current_call
from rabibridge_core.plugins import CallHeaders, Subject
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_telemetry._opentelemetry.client import TracedCalls

provider, exporter = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.1))), InMemorySpanExporter()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

def seen():
    span = trace.get_current_span().get_span_context()
    return current_call().headers["traceparent"], f"{span.trace_id:032x}", dict(contexts.get_current()) != {}

def sent_at_once(count):
    started = [calls.call_started("call", "x") for _ in range(count)]
    return [call.headers["traceparent"] for call in started if type(call) is CallHeaders]

settings = load_settings(url="memory://sampled", options={"opentelemetry": True})
calls = TracedCalls(Subject("client", "forks", settings, lambda: None), "1")

async def main():
    async def inner():
        return seen()

    async def outer():
        return seen(), await client.remote_call("inner", timeout=60)

    server = RpcServer(settings=settings)
    server.add_service(inner)
    server.add_service(outer)
    async with server.serving(), RpcClient(settings=settings) as client:
        return [await client.remote_call("outer", timeout=60) for _ in range(400)]

pairs = asyncio.run(main())
sent_at_once(1)
reading, writing = os.pipe()
warnings.simplefilter("ignore")  # Python 3.12 and later warn of a fork beside threads
if os.fork() == 0:
    os.write(writing, json.dumps(sent_at_once(10)).encode())
    os._exit(0)
os.wait()
print(json.dumps({
    "pairs": pairs,
    "spans": [(span.name, span.kind.name, f"{span.context.trace_id:032x}") for span in exporter.get_finished_spans()],
    "child": json.loads(os.read(reading, 65536)),
    "parent": sent_at_once(10),
}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    done = fork_server.run(server_of_scripts, ["-c", PROGRAM], text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_every_call_belongs_to_one_trace_whether_it_is_sampled_or_not(told: dict[str, Any]) -> None:
    sampled = set()
    for (outer, current, has_context), (inner, current_of_inner, _) in told["pairs"]:
        assert outer[3:35] == inner[3:35] == current == current_of_inner
        assert has_context
        assert span_context_of({"traceparent": outer}) is not None
        if outer.endswith(("1", "3")):
            sampled.add(current)
            assert inner.endswith(("1", "3"))
        else:
            assert inner == outer
    traces = [trace_id for _, _, trace_id in told["spans"]]
    assert len({outer for (outer, *_), _ in told["pairs"]}) == 400
    assert 10 < len(sampled) < 90
    assert sampled == set(traces)
    for trace_id in sampled:
        spans = sorted((name, kind) for name, kind, found in told["spans"] if found == trace_id)
        assert spans == [("inner", "CLIENT"), ("inner", "SERVER"), ("outer", "CLIENT"), ("outer", "SERVER")]


def test_a_process_that_was_forked_sends_ids_of_its_own(told: dict[str, Any]) -> None:
    assert told["child"]
    assert told["parent"]
    assert not {text[3:35] for text in told["child"]} & {text[3:35] for text in told["parent"]}


class _Numbered(RandomIdGenerator):
    """Gives ids of its own kind."""

    trace_id = 2**63

    def generate_trace_id(self) -> int:
        _Numbered.trace_id += 1
        return self.trace_id


@pytest.mark.parametrize(
    "provider",
    [
        TracerProvider(sampler=TraceIdRatioBased(0.1), id_generator=_Numbered()),
        TracerProvider(sampler=ALWAYS_ON),
        TracerProvider(sampler=TraceIdRatioBased(0.5)),
    ],
)
def test_ids_are_not_made_in_advance_where_they_are_the_program_s_own_or_few_are_dropped(
    provider: TracerProvider,
) -> None:
    assert Spans("1", provider).dropped_roots() == []


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.2])
def test_traces_that_are_dropped_in_a_row_are_those_that_the_sampler_drops(ratio: float) -> None:
    spans = Spans("1", TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio) if ratio else ALWAYS_OFF)))
    dropped: list[str] = []
    recorded = 0
    while len(dropped) + recorded < 5000:
        dropped += spans.dropped_roots()
        if spans.dropped(None) is None:
            span = spans.start(Context(), "x", SpanKind.CLIENT, {})
            assert not isinstance(span, SpanContext)
            assert span.get_span_context().trace_id % 2**64 < ratio * 2**64
            recorded += 1
    contexts = [span_context_of({"traceparent": text}) for text in dropped]
    assert all(context is not None and context.trace_id % 2**64 >= ratio * 2**64 for context in contexts)
    assert len(set(dropped)) == len(dropped)
    assert abs(recorded - 5000 * ratio) < 150

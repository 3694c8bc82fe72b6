"""What an exporter gets of all shapes of calls: the same whether spans are put together late or at once."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_scripts

PROGRAM = """
import asyncio, contextvars, json, os, sys, threading

from opentelemetry import context as contexts, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rabibridge import NoRouteError, RemoteExecutionError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings

provider, exporter = TracerProvider(resource=Resource({"host.name": "h"})), InMemorySpanExporter()
provider.add_span_processor({"batch": BatchSpanProcessor, "simple": SimpleSpanProcessor}[os.environ["KIND"]](exporter))
trace.set_tracer_provider(provider)
tracer = provider.get_tracer("program")
settings = load_settings(url="memory://deferred", options={"opentelemetry": True})
seen = {}

async def plain():
    seen["plain"] = trace.get_current_span().get_span_context()

async def fails():
    raise RuntimeError("planned")

async def numbers():
    for number in range(3):
        yield number

async def touches():
    span = trace.get_current_span()
    span.set_attribute("text", "t")
    span.set_attributes({"numbers": [1, 2]})
    span.add_event("event", {"a": 1})
    with tracer.start_as_current_span("inside"):
        await client.remote_call("plain", timeout=60)
    seen["attributes"] = sorted(span.attributes), span.name, span.kind.name, span.is_recording()

async def adds():
    span = trace.get_current_span()
    span.set_attribute("text", "t")
    span.set_attributes({"number": 1, "flag": True})
    span.set_attribute("text", "second")

async def names_nothing():
    span = trace.get_current_span()
    span.set_attribute("", "no name")
    span.set_attribute(1, "no text")

async def links():
    span = trace.get_current_span()
    span.add_link(span.get_span_context(), {"l": 1})
    span.update_name("renamed")
    span.set_status(trace.StatusCode.OK)

async def ends():
    trace.get_current_span().end()

async def blocks():
    context = contexts.get_current()
    def run():
        contexts.attach(context)
        with tracer.start_as_current_span("in thread"):
            pass
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

async def main():
    global client
    server = RpcServer(settings=settings)
    for each in (plain, fails, numbers, touches, adds, links, ends, blocks, names_nothing):
        server.add_service(each)
    async with server.serving(), RpcClient(settings=settings) as client:
        for name in ("plain", "touches", "adds", "links", "ends", "blocks", "names_nothing"):
            await client.remote_call(name, timeout=60)
        for name in ("fails", "nowhere"):
            try:
                await client.remote_call(name, timeout=60)
            except (RemoteExecutionError, NoRouteError):
                pass
        seen["stream"] = [number async for number in client.stream("numbers")]
        await client.notify("plain")
        async for _ in client.map("plain", [()] * 0):
            pass
        with tracer.start_as_current_span("outside"):
            await client.remote_call("plain", timeout=60)

asyncio.run(main())
provider.force_flush()
VOLATILE = {"messaging.message.conversation_id", "rabibridge.time_left", "rabibridge.worker_wait.duration",
            "rabibridge.queue.duration", "exception.stacktrace"}
spans = exporter.get_finished_spans()
names = {span.context.span_id: (span.name, span.kind.name) for span in spans}

def shown(attributes):
    return {name: type(value).__name__ if name in VOLATILE else repr(value) for name, value in attributes.items()}

found = []
for span in spans:
    text = json.loads(span.to_json())
    assert text["context"]["span_id"] == f"0x{span.context.span_id:016x}"
    assert span.get_span_context() is span.context
    assert 0 < span.start_time <= span.end_time
    found.append({
        "name": span.name, "kind": span.kind.name, "status": (span.status.status_code.name, span.status.description),
        "parent": None if span.parent is None else (names[span.parent.span_id], span.parent.is_remote),
        "attributes": shown(span.attributes), "resource": dict(span.resource.attributes),
        "events": [(event.name, shown(event.attributes)) for event in span.events],
        "links": [shown(link.attributes) for link in span.links],
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "scope": (span.instrumentation_scope.name, span.instrumentation_scope.version),
        "context": (int(span.context.trace_flags), span.context.is_remote, dict(span.context.trace_state)),
    })
found.sort(key=lambda one: json.dumps(one, sort_keys=True))
print(json.dumps({"spans": found, "seen": seen["attributes"]}))
"""


def _exported(kind: str, **variables: str) -> Any:
    environment = {**os.environ, "KIND": kind, **variables}
    done = fork_server.run(server_of_scripts, ["-c", PROGRAM], text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"}, {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "4"}],
    ids=["no limits", "short values", "few attributes"],
)
def test_an_exporter_gets_the_same_in_batches_and_one_by_one(variables: dict[str, str]) -> None:
    at_once, in_batches = _exported("simple", **variables), _exported("batch", **variables)
    assert in_batches["spans"] == at_once["spans"]
    assert in_batches["seen"] == at_once["seen"]
    names = {(span["name"], span["kind"]) for span in in_batches["spans"]}
    for name in ("plain", "fails", "numbers", "touches", "adds", "ends", "blocks"):
        assert {(name, "CLIENT"), (name, "SERVER")} <= names
    assert {("renamed", "SERVER"), ("rabibridge", "CLIENT"), ("in thread", "INTERNAL")} <= names

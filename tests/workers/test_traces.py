"""Traces over processes: workers that export by OTLP, their child processes, and clients."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import SpanKind
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rabibridge import RMQClient
from rabibridge.sync import Client
from rabibridge_core.settings import load_settings
from tests.support.http import get
from tests.support.otlp_receiver import OtlpReceiver, attributes_of
from tests.support.telemetry import collected
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from tests.workers.support import Program

_SERVER, _INTERNAL, _CLIENT = 2, 1, 3
"""Kinds of spans in the protobufs."""

TRACED = """
import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from rabibridge import RMQClient, register_call

provider = TracerProvider(resource=Resource({"process.pid": os.getpid()}))
patience = float(os.environ.get("PATIENCE", "2"))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["COLLECTOR"], timeout=patience)))
trace.set_tracer_provider(provider)

@register_call
async def where():
    return os.getpid()

@register_call(executor="process", fetch_size=1)
def compute():
    span = trace.get_current_span()
    span.set_attribute("seen", True)
    return os.getpid(), format(span.get_span_context().trace_id, "x")

@register_call
async def relay():
    async with RMQClient() as client:
        return await client.options(timeout=60).call(compute)
"""


async def test_spans_of_every_process_arrive(program: Program) -> None:
    mine = collected()
    mine.clear()
    (program.folder / "traced.py").write_text(TRACED)
    settings = load_settings(url=program.url, options={"opentelemetry": True})
    with (
        OtlpReceiver() as receiver,
        program.command(
            "traced.py", "--workers", "2", "--opentelemetry", variables={"COLLECTOR": receiver.endpoint}
        ) as running,
    ):
        await running.serves(2)
        async with RMQClient(settings=settings) as client:
            pids = {int(pid) for pid in await asyncio.gather(*(client.remote_call("where") for _ in range(200)))}
            child, trace_id = await soon(client.remote_call("relay", timeout=60))
        assert pids == running.workers
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        assert "Traceback" not in running.log
        served = receiver.named("where", _SERVER)
        assert {pid for pid, _ in served} == pids
        calls = {span.context.span_id for span in mine.named("where", SpanKind.CLIENT) if span.context}
        assert {int.from_bytes(span.parent_span_id) for _, span in served} == calls
        await until(lambda: len(receiver.named("compute", _INTERNAL)) == 1)
        ((pid, inside),) = receiver.named("compute", _INTERNAL)
        ((worker, outside),) = receiver.named("compute", _SERVER)
        ((_, nested),) = receiver.named("compute", _CLIENT)
        ((_, relayed),) = receiver.named("relay", _SERVER)
    assert pid == child
    assert worker in pids
    assert inside.parent_span_id == outside.span_id
    assert outside.parent_span_id == nested.span_id
    assert nested.parent_span_id == relayed.span_id
    assert inside.trace_id.hex() == relayed.trace_id.hex() == trace_id.rjust(32, "0")
    assert attributes_of(inside)["seen"] is True
    attributes = attributes_of(outside)
    assert attributes["messaging.system"] == "rabbitmq"
    assert attributes["network.peer.address"] in ("127.0.0.1", "::1")
    assert attributes["server.port"] == attributes["network.peer.port"]


async def test_a_worker_ends_in_time_while_the_collector_does_not_answer(program: Program) -> None:
    (program.folder / "traced.py").write_text(TRACED)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        variables = {"COLLECTOR": endpoint, "PATIENCE": "600"}
        with program.command("traced.py", "--workers", "2", "--opentelemetry", variables=variables) as running:
            await running.serves(2)
            async with RMQClient(url=program.url) as client:
                await asyncio.gather(*(client.remote_call("where") for _ in range(20)))
                began = monotonic()
            running.send(signal.SIGTERM)
            assert await running.ended() == 0
            took = monotonic() - began
            assert "was not exported in 3 seconds" in running.log
    # 3 seconds and the time for everything else, also on a busy machine; the SDK alone would wait for 30 seconds more.
    assert took < 30


ENDS = """
import asyncio
import sys

import traced

from rabibridge_core.rpc import RpcClient, RpcServer

async def main(how):
    server = RpcServer()
    server.add_service(traced.where)
    async with server.serving(), RpcClient() as client:
        await client.remote_call("where", timeout=60)
        if how == "raise":
            raise RuntimeError("planned")
        if how == "exit":
            sys.exit(3)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 3), ("raise", 1)])
async def test_the_last_spans_are_exported_however_a_program_ends(program: Program, how: str, code: int) -> None:
    (program.folder / "traced.py").write_text(TRACED)
    (program.folder / "ends.py").write_text(ENDS)
    with OtlpReceiver() as receiver:
        variables = {"COLLECTOR": receiver.endpoint, "PATIENCE": "60", "RABIBRIDGE_OPENTELEMETRY": "true"}
        variables["RABIBRIDGE_URL"] = "memory://ends"
        with program.python("ends.py", how, variables=variables) as running:
            assert await running.ended() == code
        assert running.log.count("Traceback") == (how == "raise"), running.log
        assert "thread" not in running.log
        assert len(receiver.named("where", _SERVER)) == len(receiver.named("where", _CLIENT)) == 1


SAMPLED = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
"""


async def test_the_histograms_of_all_workers_name_traces_that_were_recorded(program: Program) -> None:
    services = program.folder / "services.py"
    services.write_text(SAMPLED + services.read_text())
    options = ("--workers", "2", "--metrics-port", "0", "--opentelemetry")
    with program.command("services.py", *options) as running:
        await running.logged("metrics: http://127.0.0.1:")
        port = int(running.log.partition("metrics: http://127.0.0.1:")[2].partition("/")[0])
        await running.serves(2)
        async with RMQClient(url=program.url) as client:
            parents = [f"00-{number:032x}-{number:016x}-{number % 2:02}" for number in range(1, 201)]
            calls = (
                client.options(timeout=60, headers={"traceparent": parent}).remote_call("pid", (0.02,))
                for parent in parents
            )
            assert set(await soon(asyncio.gather(*calls))) == running.workers
        _, text = await get(port, "/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    found = [
        sample
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name == "rabibridge_server_call_duration_seconds_bucket" and sample.exemplar is not None
    ]
    assert found
    for sample in found:
        assert sample.exemplar is not None
        assert int(sample.exemplar.labels["trace_id"], 16) in range(1, 201, 2)
        assert 0.02 <= sample.exemplar.value <= float(sample.labels["le"])


async def test_calls_of_the_synchronous_client_have_the_span_of_their_thread_as_parent(program: Program) -> None:
    mine = collected()
    mine.clear()
    settings = load_settings(url=program.url, options={"opentelemetry": True})

    def call() -> None:
        with Client(settings=settings) as client, mine.tracer.start_as_current_span("thread"):
            client.remote_call("pid", timeout=60)
            list(client.map("pid", [0.0, 0.0]))

    with program.command("services.py", "--workers", "1") as running:
        await running.serves(1)
        await asyncio.to_thread(call)
    (thread,) = mine.named("thread", SpanKind.INTERNAL)
    (bulk,) = mine.named("pid", SpanKind.INTERNAL)
    assert thread.context is not None
    assert bulk.parent is not None
    assert bulk.parent.span_id == thread.context.span_id
    calls = mine.named("pid", SpanKind.CLIENT)
    assert len(calls) == 3
    assert {span.context.trace_id for span in calls if span.context} == {thread.context.trace_id}


FORKS = """
import os
import sys
import warnings

import traced

from rabibridge.sync import Client

tracer = traced.trace.get_tracer("program")
client = Client()

def call():
    with tracer.start_as_current_span(f"in {os.getpid()}"):
        client.remote_call("pid", timeout=60)

call()
warnings.simplefilter("ignore")  # Python 3.12 and later warn of a fork beside threads
child = os.fork()
call()
if child:
    status = os.waitpid(child, 0)[1]
    print("forked", os.getpid(), child, flush=True)
    sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
async def test_spans_of_the_synchronous_client_arrive_after_a_fork(program: Program) -> None:
    (program.folder / "traced.py").write_text(TRACED)
    (program.folder / "forks.py").write_text(FORKS)
    with OtlpReceiver() as receiver, program.command("services.py", "--workers", "1") as running:
        await running.serves(1)
        variables = {"COLLECTOR": receiver.endpoint, "PATIENCE": "60", "RABIBRIDGE_OPENTELEMETRY": "true"}
        with program.python("forks.py", variables=variables) as forks:
            assert await forks.ended() == 0
        assert "Traceback" not in forks.log
        _, parent, child = forks.log.splitlines()[-1].split()
        for pid, count in ((parent, 2), (child, 1)):
            outer = {span.span_id: span.trace_id for _, span in receiver.named(f"in {pid}", _INTERNAL)}
            assert len(outer) == count
            calls = [span for _, span in receiver.named("pid", _CLIENT) if span.parent_span_id in outer]
            assert [span.trace_id for span in calls] == [outer[span.parent_span_id] for span in calls]
            assert len(calls) == count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
async def test_the_instrumentor_of_aio_pika_makes_no_second_span(program: Program) -> None:
    from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor

    mine = collected()
    settings = load_settings(url=program.url, options={"opentelemetry": True})
    instrumentor = AioPikaInstrumentor()
    instrumentor.instrument()
    try:
        with program.command("services.py", "--workers", "1") as running:
            await running.serves(1)
            async with RMQClient(settings=settings) as client:
                mine.clear()
                await client.remote_call("pid", timeout=60)
                await client.notify("pid")
                assert [(span.name, span.kind) for span in mine.spans] == [
                    ("pid", SpanKind.CLIENT),
                    ("pid", SpanKind.PRODUCER),
                ]
    finally:
        instrumentor.uninstrument()

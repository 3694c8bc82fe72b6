"""The spans of calls, streams, notifications, broadcasts and bulk calls, and what handlers see of them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind, StatusCode

from rabibridge import CallLogFilter, Depends, NoRouteError, RemoteExecutionError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_telemetry.opentelemetry import TraceContextFilter
from tests.support.telemetry import Collected, collected, traced_settings
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from opentelemetry.sdk.trace import ReadableSpan

CLIENT, SERVER = SpanKind.CLIENT, SpanKind.SERVER


@pytest.fixture
def broker_name() -> str:
    """A broker in memory that no other test uses."""
    return f"traced-{token_hex(4)}"


@pytest.fixture
def spans() -> Collected:
    found = collected()
    found.clear()
    return found


@asynccontextmanager
async def _running(name: str, *functions: Callable[..., Any], **more: Any) -> AsyncIterator[RpcClient]:
    settings = traced_settings(name, **more)
    server = RpcServer(settings=settings)
    for function in functions:
        server.add_service(function)
    async with server.serving(), RpcClient(settings=settings) as client:
        yield client


def _is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.parent is not None
    assert parent.context is not None
    assert span.context is not None
    same_trace = span.context.trace_id == parent.context.trace_id
    return same_trace and bool(span.parent.span_id == parent.context.span_id)


def _id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def _current() -> int:
    return trace.get_current_span().get_span_context().span_id


async def test_a_call_and_what_its_function_calls_are_one_trace(spans: Collected, broker_name: str) -> None:
    clients: list[RpcClient] = []

    async def inner() -> int:
        return _current()

    async def outer() -> tuple[int, int]:
        return _current(), await clients[0].call(inner)

    async with _running(broker_name, inner, outer) as client:
        clients.append(client)
        with spans.tracer.start_as_current_span("user") as user:
            ids = await client.call(outer)
            assert trace.get_current_span() is user
        await until(lambda: len(spans.spans) == 5)
    calling, serving = spans.one("outer", CLIENT), spans.one("outer", SERVER)
    nested, served = spans.one("inner", CLIENT), spans.one("inner", SERVER)
    assert _is_child(calling, spans.one("user", SpanKind.INTERNAL))
    assert _is_child(serving, calling)
    assert _is_child(nested, serving)
    assert _is_child(served, nested)
    assert [_id_of(serving), _id_of(served)] == list(ids)
    attributes = dict(serving.attributes or {})
    assert attributes["rpc.system.name"] == "rabibridge"
    assert attributes["rpc.method"] == "outer"
    assert attributes["server.address"] == broker_name
    assert 0 <= attributes["rabibridge.queue.duration"] < 60  # type: ignore[operator]
    sent = (calling.attributes or {})["messaging.message.conversation_id"]
    assert sent == attributes["messaging.message.conversation_id"]


async def test_every_kind_of_function_runs_in_its_span(spans: Collected, broker_name: str) -> None:
    async def provided() -> int:
        return _current()

    async def in_task(span: Annotated[int, Depends(provided)]) -> tuple[int, int]:
        return _current(), span

    def in_thread() -> int:
        return _current()

    async def generator() -> AsyncIterator[int]:
        yield _current()
        await asyncio.sleep(0)
        yield _current()

    def thread_generator() -> Any:
        yield _current()
        yield _current()

    async with _running(broker_name, in_task, in_thread, generator, thread_generator) as client:
        found = {
            "in_task": set(await client.remote_call("in_task")),
            "in_thread": {await client.call(in_thread)},
            "generator": {item async for item in client.stream("generator")},
            "thread_generator": {item async for item in client.stream("thread_generator")},
        }
        await until(lambda: len(spans.spans) == 8)
    for name, ids in found.items():
        assert ids == {_id_of(spans.one(name, SERVER))}, name


@pytest.mark.parametrize("kind", [TraceContextFilter, CallLogFilter])
async def test_log_records_have_the_ids_of_their_span(
    spans: Collected, broker_name: str, caplog: pytest.LogCaptureFixture, kind: type[logging.Filter]
) -> None:
    async def speak() -> None:
        logging.getLogger("app").warning("spoken")

    caplog.handler.addFilter(kind())
    async with _running(broker_name, speak) as client:
        await client.call(speak)
        await until(lambda: len(spans.spans) == 2)
    (record,) = [record for record in caplog.records if record.message == "spoken"]
    context = spans.one("speak", SERVER).context
    assert context is not None
    assert (record.trace_id, record.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")  # type: ignore[attr-defined]


async def test_requests_without_trace_context_begin_a_trace(spans: Collected, broker_name: str) -> None:
    async def work(traced: bool) -> tuple[bool, int]:
        await asyncio.sleep(0)
        return traced, trace.get_current_span().get_span_context().trace_id

    traced, plain = traced_settings(broker_name), traced_settings(broker_name)
    object.__setattr__(plain, "opentelemetry", False)
    server = RpcServer(settings=traced)
    server.add_service(work, fetch_size=2)
    with spans.tracer.start_as_current_span("startup") as startup:
        async with server.serving(), RpcClient(settings=traced) as one, RpcClient(settings=plain) as other:
            token = attach(Context())
            try:
                calls = [(one if number % 2 else other).call(work, bool(number % 2)) for number in range(200)]
                answers = await asyncio.gather(*calls)
            finally:
                detach(token)
            await until(lambda: len(spans.spans) == 300)
    ids = [trace_id for _, trace_id in answers]
    assert len(set(ids)) == 200
    assert startup.get_span_context().trace_id not in ids
    roots = [span for span in spans.named("work", SERVER) if span.parent is None]
    assert len(roots) == 100


async def test_failures_are_named(spans: Collected, broker_name: str) -> None:
    async def fail() -> None:
        raise KeyError("x")

    async with _running(broker_name, fail) as client:
        with pytest.raises(RemoteExecutionError):
            await client.call(fail)
        with pytest.raises(NoRouteError):
            await client.remote_call("nowhere")
        await until(lambda: len(spans.spans) == 3)
    served = spans.one("fail", SERVER)
    assert served.status.status_code is StatusCode.ERROR
    assert (served.attributes or {})["error.type"] == "KeyError"
    assert [event.name for event in served.events] == ["exception"]
    assert (spans.one("fail", CLIENT).attributes or {})["error.type"] == "RemoteExecutionError"
    unknown = dict(spans.one("rabibridge", CLIENT).attributes or {})
    assert (unknown["rpc.method"], unknown["rpc.method_original"]) == ("_OTHER", "nowhere")
    assert unknown["error.type"] == "NoRouteError"


async def test_other_shapes(spans: Collected, broker_name: str) -> None:
    async def double(number: int) -> int:
        return 2 * number

    async with _running(broker_name, double) as client:
        await client.notify(double, 1)
        await until(lambda: len(spans.spans) == 2)
        sent, processed = spans.one("double", SpanKind.PRODUCER), spans.one("double", SpanKind.CONSUMER)
        assert _is_child(processed, sent)
        spans.clear()
        replies = [reply.result async for reply in client.broadcast(double, 2)]
        assert replies == [4]
        await until(lambda: len(spans.spans) == 2)
        assert _is_child(spans.one("double", SERVER), spans.one("double", CLIENT))
        assert (spans.one("double", SERVER).attributes or {})["rabibridge.shape"] == "broadcast"
        spans.clear()
        with spans.tracer.start_as_current_span("user") as user:
            async for _ in client.map(double, range(5)):
                assert trace.get_current_span() is user
        await until(lambda: len(spans.spans) == 12)
    whole = spans.one("double", SpanKind.INTERNAL)
    assert _is_child(whole, spans.one("user", SpanKind.INTERNAL))
    members = spans.named("double", CLIENT)
    assert len(members) == 5
    assert all(_is_child(member, whole) for member in members)
    assert (whole.attributes or {})["rabibridge.items"] == 5


@pytest.mark.parametrize("how", ["end", "break", "raise", "cancel", "close", "collect", "deadline", "wait_for"])
async def test_a_stream_is_one_span_however_it_is_left(
    spans: Collected, broker_name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def numbers(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        if how in ("cancel", "deadline", "wait_for"):
            await asyncio.sleep(60)

    async with _running(broker_name, numbers) as client:
        with spans.tracer.start_as_current_span("user") as user:
            await _leave(client, how, lambda: trace.get_current_span() is user)
            assert trace.get_current_span() is user
        await until(lambda: len(spans.spans) == 3)
    stream = spans.one("numbers", CLIENT)
    assert _is_child(stream, spans.one("user", SpanKind.INTERNAL))
    assert _is_child(spans.one("numbers", SERVER), stream)
    assert (stream.attributes or {})["rabibridge.shape"] == "stream"
    if how == "end":
        assert (stream.attributes or {})["rabibridge.items"] == 3
        assert (spans.one("numbers", SERVER).attributes or {})["rabibridge.items"] == 3
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def _leave(client: RpcClient, how: str, unchanged: Callable[[], bool]) -> None:
    timeout = 0.3 if how == "deadline" else 60.0
    stream = client.options(timeout=timeout).stream("numbers", 3)

    async def read(enough: int) -> int:
        count = 0
        async for _ in stream:
            assert unchanged()
            count += 1
            if count == enough:
                if how == "raise":
                    raise ValueError("left")
                return count
        return count

    if how == "break":
        await read(1)
        await stream.aclose()
    elif how == "raise":
        with pytest.raises(ValueError, match="left"):
            await read(1)
        await stream.aclose()
    elif how == "close":
        await anext(stream)
        await stream.aclose()
    elif how == "collect":
        await anext(stream)
        del read, stream
    elif how == "wait_for":
        await read(3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        await stream.aclose()
    elif how == "cancel":
        task = asyncio.create_task(read(4))
        await until(lambda: stream.received == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.aclose()
    elif how == "deadline":
        with pytest.raises(TimeoutError):
            await read(4)
    else:
        assert await read(4) == 3

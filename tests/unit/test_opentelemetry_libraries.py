"""Traces together with libraries that the program has instrumented itself."""

from __future__ import annotations

import asyncio
from secrets import token_hex

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import SpanKind

from rabibridge_core import current_call
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from tests.support.telemetry import collected, traced_settings
from tests.support.waiting import until


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    (line,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"traceparent:")]
    body = line.partition(b":")[2].strip()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


async def test_http_requests_of_a_function_are_children_of_its_span() -> None:
    spans = collected()
    settings = traced_settings(f"traced-{token_hex(4)}")

    async def ask(port: int) -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/", timeout=60)).text

    def ask_in_thread(port: int) -> str:
        with httpx.Client(trust_env=False) as client:
            return client.get(f"http://127.0.0.1:{port}/", timeout=60).text

    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument()
    try:
        server = RpcServer(settings=settings)
        server.add_service(ask)
        server.add_service(ask_in_thread)
        async with (
            await asyncio.start_server(_answer, "127.0.0.1", 0) as http,
            server.serving(),
            RpcClient(settings=settings) as client,
        ):
            port = http.sockets[0].getsockname()[1]
            for function in (ask, ask_in_thread):
                spans.clear()
                name = function.__name__
                sent = str(await client.options(timeout=120).call(function, port))
                await until(lambda: len(spans.spans) == 3)
                served = spans.one(name, SpanKind.SERVER)
                (request,) = [span for span in spans.spans if span.name == "GET"]
                assert served.context is not None
                assert request.context is not None
                assert request.parent is not None
                assert request.parent.span_id == served.context.span_id
                assert sent == f"00-{served.context.trace_id:032x}-{request.context.span_id:016x}-{sent[-2:]}"
    finally:
        instrumentor.uninstrument()


async def test_the_instrumentor_of_redis_sees_the_commands_of_a_function_and_none_of_ours(redis_url: str) -> None:
    redis = pytest.importorskip("redis.asyncio")
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    spans = collected()
    settings = load_settings(url=redis_url, options={"opentelemetry": True})

    async def reads_a_key() -> int:
        async with redis.from_url(redis_url) as own:
            await own.get("a key")
        return len([name for name in current_call().headers if name.lower() == "traceparent"])

    instrumentor = RedisInstrumentor()
    instrumentor.instrument()
    try:
        server = RpcServer(settings=settings)
        server.add_service(reads_a_key)
        async with server.serving(), RpcClient(settings=settings) as client:
            spans.clear()
            assert await client.options(timeout=120).call(reads_a_key) == 1
            await until(lambda: any(span.kind is SpanKind.SERVER for span in spans.spans))
    finally:
        instrumentor.uninstrument()
    served = spans.one("reads_a_key", SpanKind.SERVER)
    called = spans.one("reads_a_key", SpanKind.CLIENT)
    commands = [span for span in spans.spans if span not in (served, called)]
    assert served.context is not None
    assert commands
    assert {span.parent.span_id for span in commands if span.parent} == {served.context.span_id}
    assert all((span.attributes or {}).get("db.system") == "redis" for span in commands)

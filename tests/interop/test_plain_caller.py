"""A plain AMQP client calls a service of ours as docs/protocol.md says."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from pika.exceptions import NackError, UnroutableError  # type: ignore[import-untyped]  # it ships no types

from tests.interop.wire import ZSTD_MAGIC, PlainCaller, channel_to, pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQServer

    Serve = Callable[..., Awaitable[RMQServer]]


async def test_results_and_errors(serve: Serve, url: str, service_name: str) -> None:
    async def divide(a: float, b: float = 1) -> float:
        return a / b

    await serve(divide)

    def calls(direct: bool) -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel, direct=direct)
            # Both keys lead there, with and without the kind.
            caller.send_json(f"async_{service_name}", [[6, 3], {}], correlation_id="by kind")
            caller.send_json(f"any:{service_name}", [[6], {"b": 4}], correlation_id="without kind")
            caller.send_json(f"any:{service_name}", [[1, 0], {}], correlation_id="fails")
            caller.send_json(f"any:{service_name}", [[], {}], correlation_id="does not fit")

            reply = caller.reply("by kind")
            assert reply.value() == [0, 2.0]
            assert reply.properties.content_type == "application/json"
            assert not reply.headers
            assert caller.reply("without kind").value() == [0, 1.5]

            failed = caller.reply("fails")
            code, text = failed.value()
            assert code == 1
            assert text.startswith("Traceback (most recent call last):")
            assert failed.headers == {
                "rb-error": "execution",
                "rb-error-type": "builtins.ZeroDivisionError",
                "rb-error-types": "builtins.ZeroDivisionError,builtins.ArithmeticError,"
                "builtins.Exception,builtins.BaseException",
                "rb-error-message": "division by zero",
            }
            assert caller.reply("does not fit").headers["rb-error"] == "arguments"

    await asyncio.to_thread(calls, True)
    await asyncio.to_thread(calls, False)


async def test_without_a_content_type_it_is_the_workers_serializer(serve: Serve, url: str, service_name: str) -> None:
    async def echo(value: Any) -> Any:
        return value

    await serve(echo)

    def call() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            caller.send(f"any:{service_name}", pack([[b"\x00"], {}]), reply_to=caller.reply_to)
            reply = caller.reply(None)  # no correlation id in, none out
            assert reply.value() == [0, b"\x00"]
            assert reply.properties.content_type == "application/msgpack"

    await asyncio.to_thread(call)


async def test_compression_both_ways(serve: Serve, url: str, service_name: str) -> None:
    async def echo(value: Any) -> Any:
        return value

    await serve(echo)
    body = pack([["x" * 100_000], {}])

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            to_us = {"reply_to": caller.reply_to}
            compressed = zstandard.compress(body)
            caller.send(f"any:{service_name}", compressed, correlation_id="by magic", **to_us)
            caller.send(f"any:{service_name}", compressed, correlation_id="named", content_encoding="zstd", **to_us)
            stream = zstandard.ZstdCompressor().compressobj()  # such a frame does not state its size
            caller.send(f"any:{service_name}", stream.compress(body) + stream.flush(), correlation_id="stream", **to_us)
            caller.send(f"any:{service_name}", body, correlation_id="plain", **to_us)
            for correlation_id in ("by magic", "named", "stream", "plain"):
                reply = caller.reply(correlation_id)
                assert reply.properties.content_encoding == "zstd"
                assert reply.body[:4] == ZSTD_MAGIC
                assert reply.value() == [0, "x" * 100_000]

    await asyncio.to_thread(calls)


@pytest.mark.parametrize(
    "late",
    [
        {"expiration": "2000"},
        {"headers": {"rb-timeout": 2000}},
        {"headers": {"rb-timeout": 60_000, "rb-deadline": "in 2 s"}},
    ],
    ids=["expiration", "rb-timeout", "rb-deadline"],
)
async def test_a_deadline_stops_the_function_and_nothing_is_replied(
    serve: Serve, url: str, service_name: str, late: dict[str, Any]
) -> None:
    stopped = asyncio.Event()

    async def slow(wait: bool) -> str:
        if wait:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
        return "done"

    await serve(slow)
    headers = late.get("headers", {})
    if "rb-deadline" in headers:
        late = {"headers": headers | {"rb-deadline": int(time.time() * 1000) + 2000}}

    def call() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            caller.send_json(f"any:{service_name}", [[True], {}], correlation_id="late", **late)
            asyncio.run_coroutine_threadsafe(stopped.wait(), loop).result(30)
            caller.send_json(f"any:{service_name}", [[False], {}], correlation_id="next")
            assert caller.reply("next").value() == [0, "done"]
            assert not caller.has_reply("late")

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(call)


async def test_what_expires_in_the_queue_never_runs(serve: Serve, url: str, service_name: str) -> None:
    ran: list[str] = []
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold(which: str) -> str:
        ran.append(which)
        entered.set()
        await release.wait()
        return which

    await serve(hold, fetch_size=1)
    loop = asyncio.get_running_loop()

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            caller.send_json(f"any:{service_name}", [["first"], {}], correlation_id="first")
            asyncio.run_coroutine_threadsafe(entered.wait(), loop).result(30)
            caller.send_json(f"any:{service_name}", [["expired"], {}], correlation_id="expired", expiration="50")
            caller.send_json(f"any:{service_name}", [["last"], {}], correlation_id="last")
            queue = f"rpc_async_{service_name}"
            while channel.queue_declare(queue, passive=True).method.message_count > 1:
                channel.connection.sleep(0.02)
            loop.call_soon_threadsafe(release.set)
            assert caller.reply("last").value() == [0, "last"]
            assert not caller.has_reply("expired")

    await asyncio.to_thread(calls)
    assert ran == ["first", "last"]


async def test_a_full_queue_is_a_nack_and_an_unknown_service_a_return(
    serve: Serve, url: str, service_name: str
) -> None:
    async def idle() -> None: ...

    await serve(idle, queue_size=0)

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            with pytest.raises(NackError):
                caller.send_json(f"any:{service_name}", [[], {}])
            with pytest.raises(UnroutableError) as caught:
                caller.send_json(f"any:{service_name}_unknown", [[], {}])
            assert caught.value.messages[0].method.reply_code == 312

    await asyncio.to_thread(calls)

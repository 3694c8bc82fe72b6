"""Client and server on the transport: valid and invalid bodies."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.naming import service_of_queue
from rabibridge_core.errors import (
    ContentRejectedError,
    RabiBridgeError,
    RemoteExecutionError,
    SerializationError,
)
from rabibridge_core.transport import Reply, Request
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, Inbox, Worker, service, soon

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["ContentConformance"]

MSGPACK = Codec().serializer.content_type


async def _echo(value: Any) -> Any:
    return value


async def _answered_with(bench: Bench, client: Client, reply: Reply) -> Any:
    """Make a call with ``client``, answer it with ``reply``, and return its result."""
    queue, worker = bench.queue(), Worker()
    await soon((await bench.transport()).serve(queue, worker))
    name = service_of_queue(queue.name)
    call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", PATIENCE)))
    (await worker.next()).reply(reply)
    return await soon(call)


class _Forwarding(Inbox):
    """Passes the replies of another caller to a client."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        self._client.calls.replied(correlation_id, reply)
        super().replied(correlation_id, reply)


class ContentConformance(ConformanceBase):
    """Sizes, formats and malformed bodies."""

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(bytes(range(256)), id="all bytes"),
            pytest.param(os.urandom(1 << 20), id="1 MiB that cannot be compressed"),
            pytest.param(b"\0" * (4 << 20), id="4 MiB that can be"),
            pytest.param({"grün": [1, -2.5, None, True]}, id="nested"),
        ],
    )
    async def test_values_come_back(self, bench: Bench, value: Any) -> None:
        name = bench.name("echo")
        await bench.server(service(_echo, name))
        client = await bench.client()
        assert await client.call(name, (value,), {}, CallOptions("async", PATIENCE)) == value

    async def test_a_result_that_cannot_be_encoded(self, bench: Bench) -> None:
        async def lock() -> Any:
            return asyncio.Lock()

        name, echo = bench.name("lock"), bench.name("echo")
        await bench.server(service(lock, name), service(_echo, echo))
        client = await bench.client()
        with pytest.raises(RemoteExecutionError) as failure:
            await client.call(name, (), {}, CallOptions("async", PATIENCE))
        assert failure.value.error_type.endswith("SerializationError")
        assert f"service {name!r}: result: msgpack cannot encode a value of type Lock" in str(failure.value)
        assert failure.value.executed is True
        assert await client.call(echo, (1,), {}, CallOptions("async", PATIENCE)) == 1

    async def test_arguments_that_cannot_be_encoded_are_named_by_their_place(self, bench: Bench) -> None:
        client = await bench.client()
        for args, kwargs, place in [
            ((1, {"lines": [0, 1, 2, object()]}), {}, "args[1].lines[3]: msgpack cannot encode a value of type object"),
            (
                (1,),
                {"total": [{"when": range(3)}]},
                "kwargs.total[0].when: msgpack cannot encode a value of type range",
            ),
            (({"by id": {1: "x"}},), {}, "args[0][...]: msgpack cannot encode a map key of type int"),
        ]:
            with pytest.raises(SerializationError) as failure:
                await client.call("unknown", args, kwargs, CallOptions("async", PATIENCE))
            assert f"call of 'unknown': {place}" in str(failure.value)
        assert client.pending == 0

    async def test_a_result_that_is_too_large(self, bench: Bench) -> None:
        async def large() -> bytes:
            return os.urandom(100_000)

        name, echo = bench.name("large"), bench.name("echo")
        await bench.server(service(large, name), service(_echo, echo), codec=Codec(max_body=50_000))
        client = await bench.client()
        with pytest.raises(RemoteExecutionError) as failure:
            await client.call(name, (), {}, CallOptions("async", PATIENCE))
        assert failure.value.error_type.endswith("ContentRejectedError")
        assert await client.call(echo, (1,), {}, CallOptions("async", PATIENCE)) == 1

    async def test_arguments_that_are_too_large_are_not_sent(self, bench: Bench) -> None:
        name = bench.name("echo")
        await bench.server(service(_echo, name))
        client = await bench.client(codec=Codec(max_body=50_000))
        with pytest.raises(ContentRejectedError):
            await client.call(name, (os.urandom(100_000),), {}, CallOptions("async", PATIENCE))
        assert await client.call(name, (1,), {}, CallOptions("async", PATIENCE)) == 1
        assert client.pending == 0

    async def test_a_body_that_takes_more_memory_than_its_reader_allows(self, bench: Bench) -> None:
        async def many() -> list[list[int]]:
            return [[]] * 300_000

        async def count(value: Any) -> int:
            return len(value)

        many_name, count_name = bench.name("many"), bench.name("count")
        limited = Codec(max_decoded=4 << 20)
        await bench.server(service(many, many_name), service(count, count_name), codec=limited)
        client = await bench.client(codec=limited)
        with pytest.raises(ContentRejectedError, match="max_decoded"):
            await client.call(many_name, (), {}, CallOptions("async", PATIENCE))
        with pytest.raises(RemoteExecutionError, match="max_decoded") as failure:
            await client.call(count_name, ([[]] * 300_000,), {}, CallOptions("async", PATIENCE))
        assert failure.value.executed is False
        assert await client.call(count_name, ([1],), {}, CallOptions("async", PATIENCE)) == 1

    async def test_bodies_that_take_long_are_decoded_completely(self, bench: Bench) -> None:
        name, value = bench.name("echo"), [{"number": number} for number in range(50_000)]
        await bench.server(service(_echo, name))
        client = await bench.client()
        assert await client.call(name, (value,), {}, CallOptions("async", PATIENCE)) == value

    async def test_a_message_that_no_text_can_carry(self, bench: Bench) -> None:
        async def fail() -> None:
            raise ValueError("\ud800 is half a character")

        name, echo = bench.name("fail"), bench.name("echo")
        await bench.server(service(fail, name), service(_echo, echo))
        client = await bench.client()
        with pytest.raises(RemoteExecutionError) as failure:
            await client.call(name, (), {}, CallOptions("async", PATIENCE))
        assert failure.value.error_type == "builtins.ValueError"
        assert await client.call(echo, (1,), {}, CallOptions("async", PATIENCE)) == 1

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            pytest.param(Reply(b"\xc1", MSGPACK, None), SerializationError, id="not msgpack"),
            pytest.param(Reply(b"", MSGPACK, None), SerializationError, id="empty"),
            pytest.param(Reply(b"\x93\x00\x00\x00", MSGPACK, None), RemoteExecutionError, id="not a pair"),
            pytest.param(Reply(b"\x2a", MSGPACK, None), RemoteExecutionError, id="a number"),
            pytest.param(Reply(b"x", "application/x-unheard-of", None), ContentRejectedError, id="content type"),
            pytest.param(Reply(b"x", MSGPACK, "br"), ContentRejectedError, id="content encoding"),
            pytest.param(Reply(b"\x28\xb5\x2f\xfdx", MSGPACK, "zstd"), RabiBridgeError, id="not zstd"),
            pytest.param(Reply(b"\x80\x05N.", "application/x-python-pickle", None), ContentRejectedError, id="pickle"),
        ],
    )
    async def test_a_bad_reply_fails_its_call_only(
        self, bench: Bench, reply: Reply, error: type[RabiBridgeError]
    ) -> None:
        client = await bench.client()
        with pytest.raises(error):
            await _answered_with(bench, client, reply)
        assert client.pending == 0
        assert await _answered_with(bench, client, Reply(b"\x92\x00\x2a", MSGPACK, None)) == 42

    async def test_a_reply_without_content_type_is_read_as_the_default(self, bench: Bench) -> None:
        client = await bench.client()
        assert await _answered_with(bench, client, Reply(b"\x92\x00\x2a", None, None)) == 42

    async def test_replies_that_nobody_waits_for_are_counted(self, bench: Bench) -> None:
        client = await bench.client()
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        inbox = _Forwarding(client)
        caller = await soon((await bench.transport()).open_caller(inbox))
        for correlation_id in (b"unknown", b"\xff\x00", b"x" * 255):
            caller.send(Request(queue.routing_keys[0], correlation_id, b"", MSGPACK, None, None))
            (await worker.next()).reply(Reply(b"\x92\x00\x01", MSGPACK, None))
            assert (await soon(inbox.replies.get()))[0] == correlation_id
        assert client.stray_replies == 3
        assert await _answered_with(bench, client, Reply(b"\x92\x00\x2a", MSGPACK, None)) == 42
        assert client.pending == 0

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            pytest.param("application/x-python-pickle", b"\x80\x05N.", id="pickle"),
            pytest.param("application/x-unheard-of", b"x", id="content type"),
            pytest.param(MSGPACK, b"\xc1", id="not msgpack"),
            pytest.param(MSGPACK, b"", id="empty"),
            pytest.param(MSGPACK, b"\x2a", id="a number"),
            pytest.param(MSGPACK, b"\x92\x2a\x2a", id="not args and kwargs"),
            pytest.param(MSGPACK, b"\x28\xb5\x2f\xfd" + b"\xff" * 20, id="not zstd"),
        ],
    )
    async def test_a_bad_request_is_answered_and_the_worker_goes_on(
        self, bench: Bench, content_type: str, body: bytes
    ) -> None:
        name = bench.name("echo")
        schema = service(_echo, name, fetch_size=1)
        server = await bench.server(schema)
        caller, inbox = await bench.caller()
        caller.send(Request(schema.queue.routing_keys[0], b"bad", body, content_type, None, PATIENCE))
        correlation_id, reply = await soon(inbox.replies.get())
        assert correlation_id == b"bad"
        assert (reply.headers or {})["rb-error"] == "request"
        assert Codec().decode(reply.body, reply.content_type, reply.content_encoding, b"bad")[0] == 1
        client = await bench.client()
        assert await client.call(name, (1,), {}, CallOptions("async", PATIENCE)) == 1
        assert server.active_requests == 0

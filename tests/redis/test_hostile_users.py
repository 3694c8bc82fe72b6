"""What a user of Redis who may call a service can do to others, and what not, with the permissions of a caller."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import pytest

from rabibridge_core import ConfigurationError
from rabibridge_core.errors import AccessDeniedError, ContentRejectedError, SignatureError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply
from rabibridge_redis._operations.sessions import operator_session
from rabibridge_redis._resp.wire import META_MAX, REPLY, encode_message, pack, to_msgpack
from rabibridge_redis._transport.reply_limits import reply_refusal
from tests.redis.test_operations import as_user, empty_redis, own_redis
from tests.support.waiting import soon, until
from tests.unit.signing_support import AES, HMAC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tools.redis_server import PrivateRedis

__all__ = ["empty_redis", "own_redis"]

QUEUE = "rpc::q:rpc_async_echo"
MARKER = "mark-argument-5d1e7b"
NOBODY = b"0" * 32 + b".0"


async def echo(value: Any = None) -> Any:
    return value


@asynccontextmanager
async def served(url: str, *functions: Any, **options: Any) -> AsyncIterator[RpcServer]:
    server = RpcServer(settings=load_settings(url=url, options=options))
    for function in functions:
        server.add_service(function, name=function.__name__)
    async with server.serving():
        yield server


def call(**changed: Any) -> bytes:
    """Return the description of a call, with other fields than a client would write."""
    fields = {
        "version": 1, "correlation_id": b"id", "reply_to": NOBODY, "content_type": "application/msgpack",
        "content_encoding": None, "timeout": 5.0, "deadline": None, "headers": {}, "persistent": False, "reply": True,
    }  # fmt: skip
    return to_msgpack(tuple((fields | changed).values()))


BODY = to_msgpack([["hi"], {}])
ODD_REQUESTS: list[list[bytes]] = [
    [b"m", call(), b"b", BODY],
    [b"m", call()],
    [b"b", BODY, b"m", call()],
    [b"x", b"nan", b"y", b"inf", b"m", call(), b"b", BODY],
    [b"m", b"", b"b", b""],
    [b"m", b"\xc1", b"b", BODY],
    [b"m", b"\xdd\xff\xff\xff\xff", b"b", BODY],
    [b"m", b"\x91" * 50_000, b"b", BODY],
    [b"m", b"\xdd" + (2**25).to_bytes(4) + b"\x90" * 2**25, b"b", BODY],
    [b"m", call(reply_to=b"../../dead"), b"b", BODY],
    [b"m", call(reply_to=b"\xff" * 1000), b"b", BODY],
    [b"m", call(timeout=float("nan"), deadline=float("nan")), b"b", BODY],
    [b"m", call(timeout=float("inf")), b"b", BODY],
    [b"m", call(timeout=2**63), b"b", BODY],
    [b"m", call(timeout=-1e300), b"b", BODY],
    [b"m", call(headers={"rb-deliveries": 99, "rb-user": "admin"}), b"b", BODY],
    [b"m", call(headers={"a": [1]}), b"b", BODY],
    [b"m", call(content_type="application/x-python-pickle"), b"b", b"\x80\x04N."],
    [b"m", call(content_encoding="zstd"), b"b", b"\x28\xb5\x2f\xfd" + bytes(20)],
]


async def test_what_others_write_into_queues_and_to_workers_costs_no_connection(
    empty_redis: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    serving, calling = await as_user(empty_redis, "server", ""), await as_user(empty_redis, "caller", "")
    async with served(serving, echo) as server, RpcClient(url=calling) as client:
        session = server._server.transport.session  # type: ignore[attr-defined]
        client_session = client._client.transport.session  # type: ignore[attr-defined]
        assert await soon(client.remote_call("echo", ("honest",))) == "honest"
        ask = client_session.commands.ask
        for fields in ODD_REQUESTS:
            await ask("XADD", f"{QUEUE}:s", "*", *fields)
            assert await soon(client.remote_call("echo", ("honest",))) == "honest"
        forged = encode_message(REPLY, NOBODY, b"id", Reply(b"forged", "application/msgpack", None))
        for inbox in (session.token, client_session.token):  # of the client, as others do who know its name
            for fields in ([b"m", forged], [b"m", b"", b"b", b""], [b"m", forged, b"b"] * 2, [b"m", forged, b"b", b""]):
                await ask("XADD", f"rpc::i:{inbox}", "NOMKSTREAM", "*", *fields)
        for channel in ("b0:async_echo", "x0:async_echo", "b0:control", f"s:{session.token}"):
            for payload in (b"", b"9:", b"99999999999:x", pack(b"\xc1", b""), pack(call()[:-1], b""), b"\xff:\x00"):
                await ask("PUBLISH", f"rpc::{channel}", payload)
        assert await soon(client.remote_call("echo", ("honest",))) == "honest"
        assert server._server.transport.session is session  # type: ignore[attr-defined]
        assert client._client.transport.session is client_session  # type: ignore[attr-defined]
        await until(lambda: "is kept as a dead letter" in caplog.text)
    assert not [record for record in caplog.records if record.exc_info]


async def test_headers_that_are_too_large_are_refused_where_they_are_sent(empty_redis: PrivateRedis) -> None:
    async with served(empty_redis.url, echo), RpcClient(url=empty_redis.url) as client:
        texts = {f"h{number}": "x" * 8192 for number in range(META_MAX // 8192)}
        with pytest.raises(ConfigurationError, match="the headers of a call take"):
            await soon(client.options(headers=texts).remote_call("echo"))
        texts.popitem()
        assert await soon(client.options(headers=texts).remote_call("echo", (1,))) == 1


async def test_services_with_allow_refuse_everybody(empty_redis: PrivateRedis) -> None:
    server = RpcServer(url=empty_redis.url)
    server.add_service(echo, name="echo", allow=("default", "gateway"))
    async with server.serving(), RpcClient(url=empty_redis.url) as client:
        with pytest.raises(AccessDeniedError):
            await soon(client.remote_call("echo"))


async def test_a_caller_reads_and_answers_calls_of_others_only_where_they_are_neither_encrypted_nor_signed(
    empty_redis: PrivateRedis,
) -> None:
    serving, calling = await as_user(empty_redis, "server", ""), await as_user(empty_redis, "caller", "")
    for keys in ({}, {"signing_keys": f"{HMAC};{AES}", "signing_key_id": "hmac", "require_signature": True}):
        encrypted = {**keys, "encryption_key_id": "aes"} if keys else {}
        holding, released = asyncio.Event(), asyncio.Event()

        async def hold(value: str, holding: asyncio.Event = holding, released: asyncio.Event = released) -> None:
            holding.set()
            await released.wait()

        async with (
            served(serving, hold, **keys),
            RpcClient(settings=load_settings(url=calling, options=encrypted)) as client,
            RpcClient(url=calling) as other,
        ):
            waiting = asyncio.create_task(client.remote_call("hold", (MARKER,), timeout=60))
            await soon(holding.wait())
            ask = other._client.transport.session.commands.ask  # type: ignore[attr-defined]
            ((_, fields),) = await ask("XRANGE", "rpc::q:rpc_async_hold:s", "-", "+")
            assert (MARKER.encode() in fields[3]) is not bool(keys)
            _, correlation_id, reply_to, *_ = msgpack.unpackb(fields[1])
            reply = Reply(to_msgpack([0, "forged"]), "application/msgpack", None)
            await ask(
                "XADD", f"rpc::i:{reply_to[:32].decode()}", "NOMKSTREAM", "*",
                "m", encode_message(REPLY, reply_to, correlation_id, reply), "b", reply.body,
            )  # fmt: skip
            if keys:
                with pytest.raises(SignatureError):
                    await soon(waiting)
            else:
                assert await soon(waiting) == "forged"
            released.set()


async def test_a_caller_reaches_no_queue_of_another_namespace_or_service(empty_redis: PrivateRedis) -> None:
    url = await as_user(empty_redis, "caller", "billing", "add")
    async with (
        served(empty_redis.url, echo),
        operator_session(load_settings(url=url, options={"namespace": "billing"}), "test") as session,
    ):
        for queue in (QUEUE, "rpc:billing:q:rpc_async_echo", "rpc:billing:dead", "rpc:billing:r:async_echo"):
            for command in (("XRANGE", queue, "-", "+"), ("XADD", queue, "*", "m", "x"), ("DEL", queue)):
                with pytest.raises(Exception, match="NOPERM"):
                    await session.commands.ask(*command)
        for channel in ("rpc::b0:async_echo", "rpc:billing:b0:async_echo", "rpc::x0:async_echo"):
            for words in (("PUBLISH", channel, "x"), ("SUBSCRIBE", channel)):
                with pytest.raises(Exception, match="NOPERM"):
                    await session.commands.ask(*words)


def test_a_reply_whose_headers_are_too_large_is_replaced() -> None:
    assert reply_refusal(Reply(b"", None, None, {"a": "x" * 8192}), 10) is None
    assert isinstance(reply_refusal(Reply(b"", None, None, {"a": "é" * META_MAX}), 10), ContentRejectedError)
    assert isinstance(reply_refusal(Reply(b"x" * 11, None, None), 10), ContentRejectedError)

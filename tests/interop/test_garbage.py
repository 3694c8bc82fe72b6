"""Whatever is put into a service's queue, the service goes on, and who can be told is told."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from tests.interop.wire import ZSTD_MAGIC, PlainCaller, channel_to, pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQServer

    Serve = Callable[..., Awaitable[RMQServer]]

REQUEST = pack([["alive"], {}])
# One RLE block, and before it a header that states a size of 10 GiB.
BOMB = ZSTD_MAGIC + b"\xe0" + (10 * 2**30).to_bytes(8, "little") + b"\x03\x00\x00x"
UNSTATED_BOMB = ZSTD_MAGIC + b"\x00\x58" + 1000 * b"\x02\x00\x10x" + b"\x03\x00\x00x"  # 1000 times 128 KiB
JSON = {"content_type": "application/json"}

UNREADABLE: dict[str, tuple[bytes, dict[str, Any]]] = {
    "empty": (b"", {}),
    "random bytes": (random.Random(3).randbytes(2000), {}),
    "foreign content type": (REQUEST, {"content_type": "text/plain"}),
    "pickle": (b"\x80\x05K\x01.", {"content_type": "application/x-python-pickle"}),
    "json that is none": (REQUEST, JSON),
    "json in another charset": ('[["ä"],{}]'.encode("latin-1"), JSON),
    "json, far too deep": (b"[" * 100_000, JSON),
    "json with NaN": (b"[[NaN],{}]", JSON),
    "a bomb that says so": (BOMB, {}),
    "a bomb that does not say so": (UNSTATED_BOMB, {}),
    "a bomb with its encoding named": (BOMB, {"content_encoding": "zstd"}),
    "truncated zstd": (zstandard.compress(pack([["x" * 5000], {}]))[:-5], {}),
    "zstd with something behind": (zstandard.compress(REQUEST) + b"!", {}),
    "named as zstd, and is not": (REQUEST, {"content_encoding": "zstd"}),
    "foreign content encoding": (REQUEST, {"content_encoding": "gzip"}),
    "no pair": (pack([["alive"]]), {}),
    "a map": (pack({"args": ["alive"]}), {}),
    "args are no list": (pack(["alive", {}]), {}),
    "kwargs are no map": (pack([["alive"], []]), {}),
    "names are no text": (pack([[], {1: "alive"}]), {}),
    "two values": (REQUEST + REQUEST, {}),
    "larger than the worker takes": (b"\xc4" * (8 * 2**20 + 1), {}),
}
ODD_BUT_READABLE: dict[str, dict[str, Any]] = {
    "headers that mean nothing": {"headers": {"x": [1, {"y": None}], "rb-nonsense": b"\xff"}},
    "times of wrong types": {"headers": {"rb-timeout": "soon", "rb-deadline": ["now"]}},
    "times without end": {"headers": {"rb-timeout": 2**63 - 1, "rb-deadline": 2**63 - 1}},
    "every property": {
        "content_type": "Application/MsgPack; charset=binary",
        "content_encoding": "identity",
        "delivery_mode": 2,
        "priority": 9,
        "expiration": "30000",
        "message_id": "m",
        "timestamp": 1,
        "type": "t",
        "app_id": "a",
    },
}


async def echo(value: str) -> str:
    return value


async def test_what_cannot_be_read_is_answered_with_an_error(serve: Serve, url: str, service_name: str) -> None:
    server = await serve(echo)

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            for name, (body, properties) in UNREADABLE.items():
                caller.send(f"any:{service_name}", body, correlation_id=name, reply_to=caller.reply_to, **properties)
                reply = caller.reply(name)
                assert reply.headers["rb-error"] == "request", name
                assert reply.headers["rb-error-type"].startswith("rabibridge_core.errors."), name
                code, text = reply.value()
                assert code == 1, name
                assert "alive" not in text, name  # what was refused is not quoted
            assert_alive(caller, service_name)

    await asyncio.to_thread(calls)
    assert len(server.services) == 1


async def test_what_is_odd_is_read_all_the_same(serve: Serve, url: str, service_name: str) -> None:
    await serve(echo)

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            for name, properties in ODD_BUT_READABLE.items():
                caller.send(f"any:{service_name}", REQUEST, correlation_id=name, reply_to=caller.reply_to, **properties)
                assert caller.reply(name).value() == [0, "alive"], name

    await asyncio.to_thread(calls)


@pytest.mark.parametrize(
    "reply_to",
    [None, "", "nobody", "amq.rabbitmq.reply-to.forged", "ä" * 100],
    ids=["none", "empty", "nobody", "forged", "long"],
)
async def test_where_nobody_can_be_told_the_service_goes_on(
    serve: Serve, url: str, service_name: str, reply_to: str | None
) -> None:
    await serve(echo, fetch_size=1)  # one call that is not settled would stop it

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            for body, properties in UNREADABLE.values():
                caller.send(f"any:{service_name}", body, reply_to=reply_to, **properties)
            for properties in ODD_BUT_READABLE.values():
                caller.send(f"any:{service_name}", REQUEST, reply_to=reply_to, **properties)
            caller.send(f"any:{service_name}", REQUEST, reply_to=reply_to, correlation_id="")
            caller.send(f"any:{service_name}", pack([[], {}]), reply_to=reply_to)
            assert_alive(caller, service_name)

    await asyncio.to_thread(calls)


async def test_a_reply_that_comes_back_as_a_request_makes_no_loop(serve: Serve, url: str, service_name: str) -> None:
    await serve(echo)

    def calls() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            queue = f"rpc_async_{service_name}"
            caller.send(f"any:{service_name}", REQUEST, reply_to=queue, correlation_id="loop")
            caller.send(f"any:{service_name}", b"garbage", reply_to=queue, correlation_id="loop")
            assert_alive(caller, service_name)

    await asyncio.to_thread(calls)


def assert_alive(caller: PlainCaller, service_name: str) -> None:
    caller.send(f"any:{service_name}", REQUEST, correlation_id="alive", reply_to=caller.reply_to)
    assert caller.reply("alive").value() == [0, "alive"]

"""Signed and encrypted calls of every kind over the broker in memory, and what is refused where they must be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from rabibridge_core import Progress, current_call
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.errors import CallTimeoutError, RemoteExecutionError, SignatureError
from tests.support.waiting import soon, until
from tests.unit.signing_support import AES, CHACHA, ED_CLIENT, ED_SERVER, HMAC, bare, pair, strip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.transport import Reply, Request

MARKER = "marker-of-an-argument"


class Order(BaseModel):
    number: int
    note: str = ""


async def echo(value: Any) -> Any:
    return value


async def booked(order: Order) -> Order:
    return Order(number=order.number + 1, note=order.note)


async def fails(text: str) -> None:
    raise ValueError(f"it says {text}")


async def count(to: int, text: str = "") -> AsyncIterator[Any]:
    for number in range(to):
        yield number, text


async def total(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])


async def reports(text: str) -> str:
    current_call().progress(0.5, text)
    await HEARD.wait()
    return text


HEARD = asyncio.Event()
FUNCTIONS = (echo, booked, fails, count, total, reports)
KINDS = {
    "hmac": {"client_ring": HMAC, "server_ring": HMAC, "client_id": "hmac", "server_id": "hmac"},
    "ed25519": {"client_ring": ED_CLIENT, "server_ring": ED_SERVER, "client_id": "gateway", "server_id": "worker"},
}


async def numbers(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


@pytest.mark.parametrize("cipher", [None, "aes", "cha"])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle", "cloudpickle"])
async def test_every_serializer_and_key_with_all_sorts_of_values(
    serializer: str, kind: str, cipher: str | None
) -> None:
    keys: dict[str, Any] = dict(KINDS[kind])
    for side in ("client_ring", "server_ring"):
        keys[side] = "\n".join((keys[side], AES, CHACHA))
    options: dict[str, Any] = {} if cipher is None else {"encryption_key_id": cipher, "require_encryption": True}
    async with pair(FUNCTIONS, serializer=serializer, **keys, **options) as (client, server, tap):
        million = "x" * 1_000_000 + MARKER
        for value in ([MARKER, None, 1.5], million, *([] if serializer == "json" else [b"\0\1" * 500_000])):
            assert await soon(client.remote_call("echo", (value,))) == value  # compressed where it is long
        assert await soon(client.call(booked, Order(number=1, note=MARKER))) == Order(number=2, note=MARKER)
        assert [list(item) async for item in client.stream(count, 40, MARKER)] == [[i, MARKER] for i in range(40)]
        assert await soon(client.call(total, numbers(300))) == 44850
        with pytest.raises(RemoteExecutionError, match=MARKER):
            await soon(client.remote_call("fails", (MARKER,)))
        assert client.refused_messages == server.refused_messages == {}
        assert all(SIGNATURE in (request.headers or {}) for _, request in tap.sent)
        assert all(SIGNATURE in (reply.headers or {}) for reply in tap.received)
        if cipher is not None:
            assert MARKER not in repr([tap.sent, tap.received])
            assert {request.content_type for _, request in tap.sent} == {"application/vnd.rabibridge.encrypted"}


async def test_progress_broadcasts_notifications_and_control_requests_are_sealed_too() -> None:
    ring, heard = f"{HMAC}\n{AES}", list[Progress]()
    HEARD.clear()

    def hear(progress: Progress) -> None:
        heard.append(progress)
        HEARD.set()

    options: dict[str, Any] = {"encryption_key_id": "aes", "require_encryption": True}
    async with pair(FUNCTIONS, client_ring=ring, server_ring=ring, **options) as (client, server, tap):
        watching = client.options(on_progress=hear)
        assert await soon(watching.remote_call("reports", (MARKER,))) == MARKER
        assert heard[0].text == MARKER
        assert [reply.result async for reply in client.broadcast(echo, MARKER)] == [MARKER]
        await soon(client.notify(echo, MARKER))
        assert [worker.name for worker in (await soon(client.workers())).workers] == ["worker"]
        assert client.refused_messages == server.refused_messages == {}
        assert MARKER not in repr([tap.sent, tap.received])
        assert {kind for kind, _ in tap.sent} == {"send", "broadcast", "notify"}


async def test_a_request_without_its_signature() -> None:
    async with pair(FUNCTIONS) as (client, server, tap):
        strip(tap, "send")
        with pytest.raises(SignatureError, match="require_signature") as caught:
            await soon(client.remote_call("echo", (1,)))
        assert caught.value.executed is False
        with pytest.raises(SignatureError, match="require_signature"):
            [item async for item in client.stream(count, 3)]
        with pytest.raises(SignatureError, match="require_signature"):
            await soon(client.call(total, numbers(3)))
        assert server.refused_messages == {"signature": 3}
        assert client.refused_messages == {}


@pytest.mark.parametrize("kind", ["notify", "broadcast"])
async def test_what_wants_no_single_reply_without_its_signature(kind: str) -> None:
    ran: list[str] = []

    async def run(value: str) -> None:
        ran.append(value)

    async with pair([run]) as (client, server, tap):
        strip(tap, kind)
        if kind == "notify":
            await soon(client.notify("run", "bare"))
        else:
            broadcast = client.options(timeout=0.5).broadcast("run", "bare")
            assert [reply async for reply in broadcast] == []
        await until(lambda: server.refused_messages == {"signature": 1})
        tap.out = lambda sent, request: request
        await soon(client.remote_call("run", ("signed",)))
        assert ran == ["signed"]


async def test_a_control_request_without_its_signature() -> None:
    async with pair(FUNCTIONS) as (client, server, tap):
        strip(tap, "broadcast")
        assert (await soon(client.workers(timeout=0.3))).workers == ()
        assert server.refused_messages == {"signature": 1}


async def test_items_of_an_upload_and_credit_without_their_signature() -> None:
    async with pair(FUNCTIONS) as (client, server, tap):
        strip(tap, "feed")
        with pytest.raises(CallTimeoutError):
            await soon(client.options(timeout=0.5).call(total, numbers(3)))
        fed = server.refused_messages["signature"]
        assert fed >= 1
        with pytest.raises(CallTimeoutError):
            [item async for item in client.options(timeout=1.0).stream(count, 100_000, "x" * 2000)]
        assert server.refused_messages["signature"] > fed


async def test_a_cancellation_without_its_signature() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with pair([wait], server_options={"drain_timeout": 0.0}) as (client, server, tap):
        tap.keep_cancel = False
        for signed in (False, True):
            started.clear()
            tap.keep_cancel = signed
            call = asyncio.ensure_future(client.remote_call("wait"))
            await soon(started.wait())
            call.cancel()
            await asyncio.wait([call])
            if signed:
                await soon(ended.wait())
            else:
                await until(lambda: server.refused_messages == {"signature": 1})
                assert not ended.is_set()


@pytest.mark.parametrize("what", ["result", "failure", "part", "progress"])
async def test_a_reply_without_its_signature(what: str) -> None:
    async with pair(FUNCTIONS) as (client, _, tap):
        tap.back = bare
        calls: dict[str, Any] = {
            "result": lambda: client.remote_call("echo", (1,)),
            "failure": lambda: client.remote_call("fails", ("",)),
            "part": lambda: anext(client.stream(count, 3)),
            "progress": lambda: client.options(on_progress=print).remote_call("reports", ("",)),
        }
        with pytest.raises(SignatureError, match="the reply is refused: it is not signed") as caught:
            await soon(calls[what]())
        assert caught.value.executed is None
        assert client.refused_messages["reply-signature"] >= 1


async def test_replies_of_many_workers_without_their_signature() -> None:
    async with pair(FUNCTIONS) as (client, server, tap):
        tap.back = bare
        assert [reply async for reply in client.options(timeout=0.5).broadcast(echo, 1)] == []
        assert (await soon(client.workers(timeout=0.3))).workers == ()
        assert client.refused_messages["reply-signature"] >= 2
        assert server.refused_messages == {}


async def test_a_reply_of_another_call_and_a_request_as_its_own_reply_are_refused() -> None:
    async with pair(FUNCTIONS) as (client, _, tap):
        assert await soon(client.remote_call("echo", (1,))) == 1
        first: Reply = tap.received[0]
        tap.back = lambda reply: first
        with pytest.raises(SignatureError, match="changed or moved"):
            await soon(client.remote_call("echo", (2,)))
        requests: list[Request] = []
        tap.out = lambda kind, request: requests.append(request) or request  # type: ignore[func-returns-value]
        tap.back = lambda reply: reply._replace(body=requests[-1].body, headers=requests[-1].headers)
        with pytest.raises(SignatureError, match="changed or moved"):
            await soon(client.remote_call("echo", (3,)))

"""Messages of a healthy stream or upload that somebody forges: they are counted, and end nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._protocol.streams import INDEX, ITEMS, PART
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.errors import ConfigurationError, KeyUnknownError, StreamError
from rabibridge_core.transport import Reply
from tests.support.waiting import soon, until
from tests.unit.signing_support import AES, HMAC, OTHER, bare, pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LONG = "x" * 2000


async def count(to: int, text: str = "") -> AsyncIterator[Any]:
    for number in range(to):
        yield number, text


async def total(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])


def drop_key(member: Any, key_id: str) -> None:
    del member._rules.ring._keys[key_id]


def is_part(message: Any) -> bool:
    return PART in (message.headers or {})


@pytest.mark.parametrize("how", ["unsigned", "signed for something else", "with an unknown key", "a last reply"])
async def test_a_forged_part_does_not_end_a_stream(how: str) -> None:
    async with pair([count]) as (client, server, tap):
        stream = client.options(timeout=60).stream(count, 3000, LONG)
        assert list(await soon(anext(stream))) == [0, LONG]
        correlation_id = tap.sent[0][1].correlation_id
        part = next(reply for reply in tap.received if is_part(reply))
        signature = str((part.headers or {})[SIGNATURE])
        forged = {
            "unsigned": bare(part),
            "signed for something else": part._replace(body=part.body + b"x"),
            "with an unknown key": part._replace(
                headers={**(part.headers or {}), SIGNATURE: signature.replace(" hmac ", " gone ")}
            ),
            "a last reply": Reply(b"\x92\x00\xc0", "application/x-msgpack", None, None),
        }[how]
        for _ in range(3):
            tap.inject(correlation_id, forged)
        assert [item[0] async for item in stream] == list(range(1, 3000))
        kind = "reply-key" if how == "with an unknown key" else "reply-signature"
        assert client.refused_messages == {kind: 3}
        assert server.refused_messages == {}


async def test_a_stream_whose_key_is_gone_ends_at_once() -> None:
    both = f"{HMAC}\n{OTHER}"
    async with pair([count], client_ring=both, server_ring=both, server_id="other") as (client, _, _):
        stream = client.options(timeout=600).stream(count, 100_000, LONG)
        await soon(anext(stream))
        drop_key(client, "other")
        with pytest.raises(KeyUnknownError, match="'other' is not in the key ring"):
            [item async for item in stream]


async def test_parts_that_lose_their_signature_on_the_way_are_as_good_as_lost() -> None:
    async with pair([count]) as (client, _, tap):
        stream = client.options(timeout=60).stream(count, 2000, LONG)
        await soon(anext(stream))
        stripped: list[Reply] = []

        def strip_one(reply: Reply) -> Reply:
            if not stripped and is_part(reply) and (reply.headers or {})[PART] == ITEMS:
                stripped.append(reply)
                return bare(reply)  # type: ignore[no-any-return]
            return reply

        tap.back = strip_one
        with pytest.raises(StreamError, match="a message is missing"):
            [item async for item in stream]
        assert client.refused_messages == {"reply-signature": 1}


def plain_total(numbers: Iterator[int]) -> int:
    return sum(numbers)


@pytest.mark.parametrize("gone", ["hmac", "aes"])
@pytest.mark.parametrize("function", [total, plain_total], ids=["async", "in a thread"])
async def test_an_upload_whose_key_the_worker_has_lost_ends_at_once(function: Any, gone: str) -> None:
    lost = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await lost.wait()
        yield 2
        await asyncio.Event().wait()

    ring = f"{HMAC}\n{OTHER}\n{AES}"
    encrypted: dict[str, Any] = {"encryption_key_id": "aes"} if gone == "aes" else {}
    async with pair([function], client_ring=ring, server_ring=ring, server_id="other", **encrypted) as (
        client, server, tap,
    ):  # fmt: skip
        call = asyncio.ensure_future(client.options(timeout=600).call(function, numbers()))
        await until(lambda: any(kind == "feed" for kind, _ in tap.sent))
        await until(lambda: server._server.active_requests == 1)
        drop_key(server, gone)
        lost.set()
        with pytest.raises(KeyUnknownError, match=f"'{gone}' is not in the key ring") as refused:
            await soon(call)
        assert refused.value.key_id == gone
        assert server.refused_messages == {"key": 1}
        await until(lambda: server._server.active_requests == 0)


async def test_an_upload_whose_caller_has_lost_its_key_ends_at_once(caplog: pytest.LogCaptureFixture) -> None:
    lost = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await lost.wait()
        yield 2
        await asyncio.Event().wait()

    both = f"{HMAC}\n{OTHER}"
    async with pair([total], client_ring=both, server_ring=both, server_id="other") as (client, _server, tap):
        call = asyncio.ensure_future(client.options(timeout=600).call(total, numbers()))
        await until(lambda: any(kind == "feed" for kind, _ in tap.sent))
        drop_key(client, "hmac")
        lost.set()
        with pytest.raises(ConfigurationError, match=r"'hmac' .* is no longer in the key ring"):
            await soon(call)
        assert "cannot be told that the upload has failed" in caplog.text
        assert "Traceback" not in caplog.text


async def test_a_stream_whose_key_the_worker_has_lost_ends_at_once() -> None:
    both = f"{HMAC}\n{OTHER}"
    async with pair([count], client_ring=both, server_ring=both, server_id="other") as (client, server, _):
        stream = client.options(timeout=600).stream(count, 100_000, LONG)
        await soon(anext(stream))
        drop_key(server, "hmac")
        with pytest.raises(KeyUnknownError, match="'hmac' is not in the key ring"):
            [item async for item in stream]
        await until(lambda: server._server.active_requests == 0)


@pytest.mark.parametrize("how", ["unsigned", "signed for something else", "with an unknown key"])
async def test_a_forged_item_does_not_end_an_upload(how: str) -> None:
    go_on = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        await go_on.wait()
        yield 10

    async with pair([total]) as (client, server, tap):
        call = asyncio.ensure_future(client.options(timeout=60).call(total, numbers()))
        await until(lambda: any(kind == "feed" for kind, _ in tap.sent))
        fed = next(request for kind, request in tap.sent if kind == "feed")
        items = fed._replace(headers={**(fed.headers or {}), PART: ITEMS, INDEX: 5})
        end = fed._replace(headers={**(fed.headers or {}), PART: "error"})
        for forged in (items, end, fed._replace(headers={**(fed.headers or {}), PART: "cancel"})):
            if how == "unsigned":
                forged = bare(forged)
            elif how == "with an unknown key":
                signature = str((fed.headers or {})[SIGNATURE]).replace(" hmac ", " gone ")
                forged = forged._replace(headers={**(forged.headers or {}), SIGNATURE: signature})
            tap.caller.feed(forged)
        kind = "key" if how == "with an unknown key" else "signature"
        await until(lambda: server.refused_messages == {kind: 3})
        go_on.set()
        assert await soon(call) == 55

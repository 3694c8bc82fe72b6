"""Where encryption is required, nothing that a function gets, gives or raises is readable on the broker.

Results and arguments, texts of exceptions, tracebacks, fields of declared errors, details of arguments that do not fit,
progress, items of streams and uploads, headers, answers to control requests. That dead letters hold none is tested in
tests/rabbitmq/test_signed_messages.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import InvalidArgumentsError, RemoteExecutionError, SignatureError
from rabibridge_core import Progress, ServiceError, current_call
from rabibridge_core.rpc import RpcClient
from tests.support.waiting import soon
from tests.unit.signing_support import AES, HMAC, pair, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


MARKER = "marker-of-a-secret"
KEYS = f"{HMAC}\n{AES}"
ENCRYPTED: dict[str, Any] = {"encryption_key_id": "aes", "require_encryption": True}


class Refused(ServiceError, code="markers.refused"):
    why: str


async def echo(value: str) -> str:
    assert current_call().headers.get("tenant") in (None, MARKER)
    return value


async def raises(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError as error:
        raise ValueError(f"about {text}") from error


async def declared(text: str) -> None:
    raise Refused(why=text)


async def booked(number: int) -> int:
    return number


async def count(text: str) -> AsyncIterator[str]:
    for _ in range(300):
        yield text
    raise ValueError(text)


async def joined(texts: AsyncIterator[str]) -> str:
    return "".join([text async for text in texts])


async def reports(text: str) -> str:
    current_call().progress(0.5, text)
    await HEARD.wait()
    return text


HEARD = asyncio.Event()
FUNCTIONS = (echo, raises, declared, booked, count, joined, reports)


async def texts() -> AsyncIterator[str]:
    for _ in range(300):
        yield MARKER


async def test_no_message_of_any_kind_holds_what_a_function_gets_gives_or_raises() -> None:
    HEARD.clear()
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        heard.append(progress)
        HEARD.set()

    async with pair(FUNCTIONS, client_ring=KEYS, server_ring=KEYS, **ENCRYPTED) as (client, server, tap):
        secret = client.options(timeout=60, headers={"tenant": MARKER})
        assert await secret.call(echo, MARKER) == MARKER
        with pytest.raises(RemoteExecutionError, match=MARKER) as caught:
            await secret.remote_call("raises", (MARKER,))
        assert MARKER in caught.value.remote_traceback
        with pytest.raises(Refused, match=MARKER):
            await secret.options(headers={}).call(declared, MARKER)
        with pytest.raises(InvalidArgumentsError, match=MARKER):
            await secret.remote_call("booked", (MARKER,))
        with pytest.raises(RemoteExecutionError, match=MARKER):
            assert [item async for item in secret.stream(count, MARKER)] == [MARKER] * 300
        assert await secret.call(joined, texts()) == MARKER * 300
        assert await secret.options(on_progress=hear).call(reports, MARKER) == MARKER
        assert heard[0].text == MARKER
        assert [reply.result async for reply in secret.broadcast(echo, MARKER)] == [MARKER]
        await secret.notify(echo, MARKER)
        (worker,) = await soon(client.workers())
        raises = worker.service("raises")
        assert raises is not None
        (failure,) = raises.failures
        assert failure.type == "builtins.ValueError"
        assert "encrypted" in failure.message
        assert MARKER not in repr(worker)  # what `rabibridge top` and the dashboard show
        assert (await soon(client.services())).services
        assert client.refused_messages == server.refused_messages == {}
        assert {kind for kind, _ in tap.sent} == {"send", "broadcast", "notify", "feed"}
        assert MARKER not in repr([tap.sent, tap.received])

        url = str(client.settings.endpoints[0])
        async with RpcClient(url=url) as plain:  # no downgrade
            with pytest.raises(SignatureError, match="neither signed nor encrypted, which require_encryption asks for"):
                await soon(plain.remote_call("echo", ("plain",)))
            assert (await soon(plain.workers(timeout=0.3))).workers == ()
        signing = settings_of(url, KEYS, "hmac", require_signature=None)
        async with RpcClient(settings=signing) as signed:
            with pytest.raises(SignatureError, match="not encrypted, which require_encryption asks for"):
                await soon(signed.remote_call("echo", ("plain",)))
            assert (await soon(signed.workers(timeout=0.3))).workers == ()
        assert server.refused_messages == {"signature": 4}

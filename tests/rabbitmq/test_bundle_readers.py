"""Who gets replies in bundles: those who ask for it, and nobody else; and what is no bundle ends no call."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge._amqp.bundles import BUNDLE_TYPE, parse_bundle
from rabibridge._amqp.headers import BUNDLES_HEADER
from tests.support.message_limit import message_size_limits
from tests.support.proxy import Proxy
from tests.support.services import new_echo
from tests.support.waiting import soon, until
from tests.unit.signing_support import HMAC, settings_of

if TYPE_CHECKING:
    import aiormq

    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

_TYPE = BUNDLE_TYPE.encode()
_ANNOUNCED = BUNDLES_HEADER.encode()


async def test_few_calls_announce_nothing_and_get_no_bundles(stage: Stage) -> None:
    async with Proxy(stage.url, recording=True) as proxy:
        client = await stage.client(url=proxy.url)
        name = stage.register(echo := new_echo())
        await stage.server(echo, url=proxy.url)
        assert await soon(asyncio.gather(*(client.remote_call(name, (n,)) for n in range(8)))) == list(range(8))
        sent = b"".join(bytes(link.sent) for link in proxy.links)
    assert _TYPE not in sent
    assert _ANNOUNCED not in sent


async def test_who_does_not_ask_never_meets_a_bundle_beside_those_who_do(
    stage: Stage, raw: aiormq.abc.AbstractChannel
) -> None:
    """A foreign caller without the header, one with it, and a client of ours share one worker."""
    name = await stage.serve(new_echo())
    received: dict[str, list[Any]] = {}

    async def foreign(headers: dict[str, Any]) -> str:
        queue = (await raw.queue_declare("", exclusive=True)).queue
        assert queue is not None
        found = received[queue] = []

        async def take(message: Any) -> None:
            found.append(message)

        await raw.basic_consume(queue, take, no_ack=True)
        for number in range(50):
            properties = spec.Basic.Properties(
                reply_to=queue, correlation_id=f"{number}", content_type="application/json", headers=headers
            )
            await raw.basic_publish(
                b"[[%d], {}]" % number, exchange="rpc", routing_key=f"async_{name}", properties=properties
            )
        return queue

    client = await stage.client()
    ours = asyncio.gather(*(client.remote_call(name, (number,)) for number in range(300)))
    silent, asking = await soon(asyncio.gather(foreign({}), foreign({BUNDLES_HEADER: True, "other": "x"})))
    assert await soon(ours) == list(range(300))

    def replies_of(queue: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for message in received[queue]:
            properties = message.header.properties
            if properties.content_type == BUNDLE_TYPE:
                assert queue == asking
                found |= {one.correlation_id.decode(): body for one, body in parse_bundle(message.body)}
            else:
                found[properties.correlation_id] = message.body
        return found

    expected = {f"{number}": b"[0,%d]" % number for number in range(50)}
    for queue in (silent, asking):
        await until(lambda queue=queue: len(replies_of(queue)) == 50)  # type: ignore[misc]
        assert {one: body.replace(b" ", b"") for one, body in replies_of(queue).items()} == expected
    assert len(received[silent]) == 50


@pytest.mark.parametrize(
    "body", [b"", b"\x01", b"\x01garbage that is no content header", b"\x01" + b"\xff" * 70_000], ids=len
)
async def test_a_malformed_bundle_ends_no_call_and_is_logged_once(
    stage: Stage, raw: aiormq.abc.AbstractChannel, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    name = await stage.serve(new_echo())
    client: Any = await stage.client()
    reply_to = client._client.calls.caller.reply_address.decode()
    with caplog.at_level(logging.WARNING, "rabibridge"):
        for _ in range(3):
            properties = spec.Basic.Properties(content_type=BUNDLE_TYPE, correlation_id="")
            await raw.basic_publish(body, routing_key=reply_to, properties=properties, mandatory=True)
        assert await soon(client.remote_call(name, (1,))) == 1
        await until(lambda: client.stray_replies == (3 if body else 0))
    lines = [record for record in caplog.records if "malformed bundle" in record.getMessage()]
    assert len(lines) == 1
    assert client.pending == 0


async def test_a_caller_that_reads_only_small_bodies_asks_for_none(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_MAX_BODY", "2000")
    async with Proxy(stage.url, recording=True) as proxy:
        client = await stage.client(url=proxy.url)
        name = await stage.serve(new_echo())
        numbers = list(range(300))
        assert await soon(asyncio.gather(*(client.remote_call(name, (number,)) for number in numbers))) == numbers
        assert _ANNOUNCED not in proxy.link.sent


@pytest.mark.parametrize("size", [5000, 70_000])
async def test_a_broker_that_accepts_only_small_messages_accepts_all_bundles(
    stage: Stage, governed: Broker, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    runs = 0

    async def work(number: int) -> tuple[int, str]:
        nonlocal runs
        runs += 1
        return number, "x" * 200

    with message_size_limits(governed) as limit:
        limit(size)
        name = stage.register(work, fetch_size=600)
        async with Proxy(stage.url, recording=True) as proxy:
            await stage.server(work, url=proxy.url)
            client = await stage.client()
            for _ in range(2):
                calls = [client.remote_call(name, (number,)) for number in range(600)]
                assert await soon(asyncio.gather(*calls)) == [[number, "x" * 200] for number in range(600)]
            assert any(_TYPE in link.sent for link in proxy.links)
    assert runs == 1200
    assert "reconnecting" not in caplog.text


async def test_signed_requests_ask_for_none(stage: Stage) -> None:
    async with Proxy(stage.url, recording=True) as proxy:
        name = stage.register(echo := new_echo())
        await stage.server(echo, url=None, settings=settings_of(stage.url, HMAC, "hmac"))
        client = await stage.client(url=None, settings=settings_of(proxy.url, HMAC, "hmac"))
        numbers = list(range(100))
        assert await soon(asyncio.gather(*(client.remote_call(name, (number,)) for number in numbers))) == numbers
        assert _ANNOUNCED not in proxy.link.sent

"""Calls that may run twice are sent again after a lost connection, under the same key, and have one result each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import (
    ConfigurationError,
    ConnectionLostError,
)
from tests.unit.client_support import GONE, IDEMPOTENT, PATIENCE, begin, lose, make_client, reply, sent, turns
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request


def _key(request: Request) -> object:
    return (request.headers or {}).get("rb-key")


async def test_it_is_sent_again_with_the_same_id_and_key(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number, timeout=PATIENCE, idempotent=True) for number in range(3)]
    ids = await sent(transport, 3)
    for attempt in range(1, 4):
        lose(client, transport, *ids[:1])
        await turns()
        assert (len(transport.sent), client.pending) == (3 * attempt, 3)
        transport.open.set()
        assert (await sent(transport, 3 * attempt + 3))[-3:] == ids
    for first, *others in zip(*(transport.sent[start : start + 3] for start in (0, 3, 6, 9)), strict=True):
        assert {_key(request) for request in others} == {_key(first)}
        assert isinstance(_key(first), str)
        assert {request.body for request in others} == {first.body}
        times = [request.timeout or 0 for request in (first, *others)]
        assert all(0 < time_left <= PATIENCE + 1 for time_left in times)  # what is left of it, in steps
        assert times[1] >= times[2] >= times[3]
    for number, correlation_id in enumerate(ids):
        client.calls.replied(correlation_id, reply(number))
    assert await asyncio.gather(*calls) == [0, 1, 2]


async def test_other_calls_are_not(
    client: Client, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary, again = begin(client), begin(client, idempotent=True)
    ids = await sent(transport, 2)
    assert transport.sent[0].headers is None
    with caplog.at_level(logging.WARNING):
        lose(client, transport)
    assert "1 pending calls ended, 1 will be sent again" in caplog.text
    with pytest.raises(ConnectionLostError):
        await ordinary
    transport.open.set()
    assert (await sent(transport, 3))[2:] == [ids[1]]
    client.calls.replied(ids[1], reply("result"))
    assert await again == "result"


async def test_a_key_of_ones_own(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, idempotency_key="order 17 ü"), begin(client, idempotency_key="k" * 200)]
    ids = await sent(transport, 2)
    assert [_key(request) for request in transport.sent] == ["order 17 ü", "k" * 200]
    lose(client, transport)
    transport.open.set()
    await sent(transport, 4)
    assert [_key(request) for request in transport.sent[2:]] == ["order 17 ü", "k" * 200]
    for correlation_id in ids:
        client.calls.replied(correlation_id, reply(None))
    await asyncio.gather(*calls)


@pytest.mark.parametrize("key", ["", "k" * 201, 17, b"key", "\ud800"])
async def test_keys_that_cannot_be(client: Client, transport: ScriptedTransport, key: Any) -> None:
    with pytest.raises(ConfigurationError, match="idempotency_key"):
        await begin(client, idempotency_key=key)
    assert transport.sent == []


async def test_no_two_calls_have_the_same_key() -> None:
    keys = []
    for _ in range(2):
        transport = ScriptedTransport()
        client = make_client(transport)
        await client.connect()
        for number in range(10):
            call = begin(client, idempotent=True)
            client.calls.replied((await sent(transport, number + 1))[-1], reply(None))
            await call
        keys += [_key(request) for request in transport.sent]
        await client.close()
    assert len(set(keys)) == 20


async def test_services_are_known_by_their_last_reply(client: Client, transport: ScriptedTransport) -> None:
    async def one(headers: dict[str, Any] | None, code: int = 0) -> bool:
        count = len(transport.sent) + 1
        call = begin(client)
        client.calls.replied((await sent(transport, count))[-1], reply("text", code, headers))
        await asyncio.gather(call, return_exceptions=True)
        return transport.sent[-1].headers is not None

    assert not await one(IDEMPOTENT)
    assert await one(IDEMPOTENT)
    assert await one({**IDEMPOTENT, "rb-error": "execution"}, code=1)  # a failure tells it too
    assert await one(None)
    assert not await one({"rb-idempotent": "true"})
    assert not await one(IDEMPOTENT)
    other = asyncio.create_task(client.call("other", (), {}, CallOptions("async", None)))
    client.calls.replied((await sent(transport, 7))[-1], reply(None))
    await other
    assert transport.sent[-1].headers is None
    assert await one({"another": 1})
    assert not await one(None)


async def test_one_whose_service_became_known_while_it_was_under_way(
    client: Client, transport: ScriptedTransport
) -> None:
    early, teacher = begin(client, "early"), begin(client, "teacher")
    ids = await sent(transport, 2)
    client.calls.replied(ids[1], reply("known", headers=IDEMPOTENT))
    await teacher
    lose(client, transport)
    transport.open.set()
    await sent(transport, 3)
    lose(client, transport)
    transport.open.set()
    assert (await sent(transport, 4))[3:] == [ids[0]]
    assert [_key(request) is not None for request in transport.sent] == [False, False, True, True]
    assert _key(transport.sent[2]) == _key(transport.sent[3])
    client.calls.replied(ids[0], reply("result"))
    assert await early == "result"


@pytest.mark.parametrize("when", ["before it is sent again", "after that"])
async def test_a_reply_to_the_first_attempt_is_the_result(
    client: Client, transport: ScriptedTransport, when: str
) -> None:
    call = begin(client, idempotent=True, timeout=PATIENCE)
    (correlation_id,) = await sent(transport)
    lose(client, transport)
    if when == "after that":
        transport.open.set()
        await sent(transport, 2)
    client.calls.replied(correlation_id, reply("first"))
    assert await call == "first"
    transport.open.set()
    await turns()
    assert len(transport.sent) == (2 if when == "after that" else 1)
    client.calls.replied(correlation_id, reply("second"))
    assert (client.stray_replies, client.pending, transport.cancelled) == (1, 0, [])


async def test_it_is_lost_again_while_it_is_sent_again(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number, idempotent=True) for number in range(600)]
    ids = await sent(transport, 600)
    lose(client, transport)

    def break_at_the_400th(request: Request) -> None:
        if len(transport.sent) == 1000:
            transport.sending = None
            lose(client, transport)
            raise GONE

    transport.sending = break_at_the_400th
    transport.open.set()
    await turns(lambda: transport.sending is None)
    await turns()
    assert len(transport.sent) == 1000
    transport.open.set()
    assert sorted((await sent(transport, 1600))[1000:]) == sorted(ids)
    for correlation_id in ids:
        client.calls.replied(correlation_id, reply(None))
    await asyncio.gather(*calls)


async def test_a_connection_that_goes_in_the_middle_of_sending_it_again_is_waited_for(
    client: Client, transport: ScriptedTransport
) -> None:
    call = begin(client, idempotent=True)
    (correlation_id,) = await sent(transport)
    lose(client, transport)

    def gone(request: Request) -> None:  # the loss itself is reported later
        transport.sending = None
        transport.pause("no connection: the cable was cut again")
        raise GONE

    transport.sending = gone
    transport.open.set()
    await turns(lambda: transport.sending is None)
    await turns()
    assert len(transport.sent) == 1
    transport.open.set()
    assert await sent(transport, 2) == [correlation_id] * 2
    client.calls.replied(correlation_id, reply("done"))
    assert await call == "done"


async def test_it_goes_on_when_the_socket_asks_for_a_pause(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number, idempotent=True) for number in range(5)]
    ids = await sent(transport, 5)
    lose(client, transport)

    def pause_after_two(request: Request) -> None:
        if len(transport.sent) == 6:
            transport.sending = None
            transport.pause()

    transport.sending = pause_after_two
    transport.open.set()
    await sent(transport, 7)
    await turns()
    assert len(transport.sent) == 7
    transport.open.set()
    assert (await sent(transport, 10))[5:] == ids
    for correlation_id in ids:
        client.calls.replied(correlation_id, reply(None))
    await asyncio.gather(*calls)


async def test_many_at_once_let_the_others_have_their_turn(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number, idempotent=True) for number in range(5000)]
    ids = await sent(transport, 5000)
    lose(client, transport)
    transport.open.set()
    seen = set()
    while len(transport.sent) < 10_000:
        await asyncio.sleep(0)
        seen.add(len(transport.sent))
    assert len(seen) > 10
    for correlation_id in ids:
        client.calls.replied(correlation_id, reply(None))
    await asyncio.gather(*calls)

"""The ids of calls: they begin anywhere, count, begin again, and no two calls that are pending share one."""

from __future__ import annotations

import asyncio

from tests.unit.client_support import CODEC, PATIENCE, begin, make_client, reply, sent
from tests.unit.scripted_transport import ScriptedTransport


async def test_ids_count_and_begin_again_but_never_at_one_in_use(transport: ScriptedTransport) -> None:
    client = make_client(transport, cid_max=4)
    await client.connect()
    held = begin(client)
    (kept,) = await sent(transport)
    for number in range(12):
        call = begin(client)
        correlation_id = (await sent(transport, number + 2))[-1]
        assert correlation_id != kept
        assert 0 <= int(correlation_id) < 4
        client.calls.replied(correlation_id, reply(number))
        assert await call == number
    client.calls.replied(kept, reply("kept"))
    assert await held == "kept"
    await client.close()


async def test_more_calls_than_ids(transport: ScriptedTransport) -> None:
    client = make_client(transport, cid_max=4)
    await client.connect()
    calls = [begin(client, number) for number in range(13)]
    ids = await sent(transport, 13)
    assert len(set(ids)) == 13
    for number, correlation_id in enumerate(ids):
        client.calls.replied(correlation_id, reply(number))
    assert await asyncio.gather(*calls) == list(range(13))
    await client.close()


async def test_more_calls_than_ids_wait_to_be_sent(transport: ScriptedTransport) -> None:
    client = make_client(transport, cid_max=2)
    await client.connect()
    transport.paused = True
    calls = [begin(client, number, timeout=PATIENCE) for number in range(7)]
    await asyncio.sleep(0)  # let them begin to wait
    transport.open.set()
    ids = await sent(transport, 7)
    assert len(set(ids)) == 7
    for request in transport.sent:
        ((number,), _) = CODEC.decode(request.body, request.content_type, request.content_encoding, b"")
        client.calls.replied(request.correlation_id, reply(number))
    assert await asyncio.gather(*calls) == list(range(7))
    await client.close()


async def test_the_first_id_is_not_to_be_guessed() -> None:
    firsts = {make_client(ScriptedTransport()).correlation_id for _ in range(20)}
    assert len(firsts) > 10

"""At most max_pending calls are pending; more wait for room, in their order, within their time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, SerializationError
from tests.unit.client_support import PATIENCE, begin, make_client, reply, sent, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request
    from tests.unit.scripted_transport import ScriptedTransport


@pytest.fixture
async def client(transport: ScriptedTransport) -> AsyncIterator[Client]:
    client = make_client(transport, max_pending=2)
    await client.connect()
    yield client
    assert client.pending == 0, "every test leaves the table empty"
    assert await _finish(client, transport, begin(client, "room")) == "room", "every test leaves room"
    await client.close()


def _argument(request: Request) -> object:
    ((argument,), _) = Codec().decode(request.body, request.content_type)
    return argument


async def _finish(client: Client, transport: ScriptedTransport, *calls: asyncio.Task[object]) -> object:
    """Answer each request with its argument until the calls have ended; return the result of the last."""
    answered = 0
    async with asyncio.timeout(PATIENCE):
        while not all(call.done() for call in calls):
            for request in transport.sent[answered:]:
                client.calls.replied(request.correlation_id, reply(_argument(request)))
            answered = len(transport.sent)
            await asyncio.sleep(0)
    return await calls[-1]


async def test_more_wait_in_their_order(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number) for number in range(100)]
    most = 0
    for number in range(100):
        await sent(transport, number + 1)
        most = max(most, client.pending)
        client.calls.replied(transport.sent[number].correlation_id, reply(number))
    assert await asyncio.gather(*calls) == list(range(100))
    assert most == 2
    assert [_argument(request) for request in transport.sent] == list(range(100))


async def test_whoever_comes_later_does_not_overtake(client: Client, transport: ScriptedTransport) -> None:
    first, second, third = (begin(client, number) for number in range(3))
    await sent(transport, 2)
    await turns()
    client.calls.replied(transport.sent[0].correlation_id, reply(0))
    late = begin(client, "late")  # there is room, and it is for the third
    await sent(transport, 3)
    await turns()
    assert [_argument(request) for request in transport.sent] == [0, 1, 2]
    await _finish(client, transport, first, second, third, late)


async def test_it_waits_within_its_time(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number) for number in range(2)]
    await sent(transport, 2)
    with pytest.raises(
        CallTimeoutError, match=r"could not be sent within 0\.05 s: max_pending=2 calls are pending"
    ) as late:
        await begin(client, timeout=0.05)
    assert (late.value.executed, late.value.timeout) == (False, 0.05)
    assert len(transport.sent) == 2
    await _finish(client, transport, *calls)


async def test_those_that_give_up_take_no_place_along(client: Client, transport: ScriptedTransport) -> None:
    held = [begin(client, number) for number in range(2)]
    ids = await sent(transport, 2)
    first, second, third, fourth, fifth = (begin(client, number) for number in "abcde")
    timed = begin(client, "timed", timeout=0.05)
    await turns()
    first.cancel()  # while it waits
    await turns()
    for correlation_id in ids:
        client.calls.replied(correlation_id, reply("held"))
    for call in (second, third):  # right after the turn in which they get their places
        asyncio.get_running_loop().call_soon(call.cancel)
    await asyncio.gather(*held)
    with pytest.raises(CallTimeoutError):
        await timed
    await sent(transport, 4)  # the last two have the places
    assert [_argument(request) for request in transport.sent[2:]] == ["d", "e"]
    await _finish(client, transport, fourth, fifth)
    for call in (first, second, third):
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_one_that_fails_in_its_turn_lets_the_next_in(client: Client, transport: ScriptedTransport) -> None:
    held = [begin(client, number) for number in range(2)]
    ids = await sent(transport, 2)
    broken, next_one = begin(client, object()), begin(client, "next")
    await turns()
    client.calls.replied(ids[0], reply("held"))
    with pytest.raises(SerializationError):
        await broken
    await sent(transport, 3)
    assert await _finish(client, transport, *held, next_one) == "next"


async def test_places_are_held_while_the_broker_asks_for_a_pause(client: Client, transport: ScriptedTransport) -> None:
    transport.pause("the broker is short of memory")
    calls = [begin(client, number) for number in range(10)]
    await turns()
    with pytest.raises(CallTimeoutError, match="short of memory; max_pending=2 calls are pending"):
        await begin(client, timeout=0.01)
    transport.open.set()
    await sent(transport, 2)
    await turns()
    assert len(transport.sent) == 2  # not all ten
    await _finish(client, transport, *calls)
    assert [_argument(request) for request in transport.sent] == list(range(10))


async def test_a_lost_connection_makes_room(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number) for number in range(4)]
    await sent(transport, 2)
    transport.pause()
    client.calls.lost(ConnectionLostError("gone"), ())
    for call in calls[:2]:
        with pytest.raises(ConnectionLostError):
            await call
    await turns()
    assert not any(call.done() for call in calls[2:])
    transport.open.set()
    await _finish(client, transport, *calls[2:])


async def test_what_waits_to_be_sent_again_keeps_its_place(client: Client, transport: ScriptedTransport) -> None:
    kept = [begin(client, number, idempotent=True) for number in range(2)]
    await sent(transport, 2)
    more = begin(client, "more")
    await turns()
    transport.pause()
    client.calls.lost(ConnectionLostError("gone"), ())
    transport.open.set()
    await sent(transport, 4)
    await turns()
    assert [_argument(request) for request in transport.sent] == [0, 1, 0, 1]
    assert await _finish(client, transport, *kept, more) == "more"


async def test_closing_ends_those_that_wait(transport: ScriptedTransport) -> None:
    client = make_client(transport, max_pending=1)
    await client.connect()
    calls = [begin(client, number) for number in range(5)]
    await sent(transport)
    await turns()
    await client.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * 5
    assert [outcome.executed for outcome in outcomes if isinstance(outcome, ConnectionLostError)] == [None] + [
        False
    ] * 4
    assert len(transport.sent) == 1


async def test_many_give_up_and_nothing_is_left(client: Client, transport: ScriptedTransport) -> None:
    held = [begin(client, number) for number in range(2)]
    await sent(transport, 2)
    outcomes = await asyncio.gather(*(begin(client, timeout=0.01) for _ in range(1000)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {CallTimeoutError}
    assert not client.calls.admission.waiting
    await _finish(client, transport, *held)


async def test_what_asks_first_is_told_when_a_call_would_wait(client: Client, transport: ScriptedTransport) -> None:
    assert client.calls.sends_at_once
    transport.pause("the broker asks for it")
    assert not client.calls.sends_at_once
    transport.open.set()
    await transport.writable()
    limit = client.calls.admission.limit
    calls = [begin(client, number) for number in range(limit)]
    await sent(transport, limit)
    assert not client.calls.sends_at_once
    calls[0].cancel()
    await asyncio.gather(calls[0], return_exceptions=True)
    assert client.calls.sends_at_once
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

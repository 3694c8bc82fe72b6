"""Where nobody waits for a call any more, the workers are told: by cancelled tasks and by closed clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError
from tests.unit.client_support import PATIENCE, begin, make_client, reply, sent, turns

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


async def test_a_thousand_at_once(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number, timeout=PATIENCE) for number in range(1000)]
    ids = await sent(transport, 1000)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert client.pending == 0
    assert sorted(transport.cancelled) == sorted(("async_work", correlation_id) for correlation_id in ids)


async def test_a_timeout_around_the_call(client: Client, transport: ScriptedTransport) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await client.call("work", (), {}, CallOptions("any", None))
    assert transport.cancelled == [("any:work", transport.sent[0].correlation_id)]


async def test_calls_that_time_out_are_cancelled_but_not_in_floods(
    client: Client, transport: ScriptedTransport
) -> None:
    with pytest.raises(CallTimeoutError):
        await begin(client, timeout=0.01)
    assert transport.cancelled == [("async_work", transport.sent[0].correlation_id)]
    # A cancellation goes to every worker: where calls time out all the time, that would be another overload.
    calls = [begin(client, timeout=0.01) for _ in range(5000)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {CallTimeoutError}
    assert 1500 < len(transport.cancelled) < 4000


async def test_what_was_not_sent_is_not_told(client: Client, transport: ScriptedTransport) -> None:
    transport.pause()
    call = begin(client)
    await turns()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert transport.cancelled == []


async def test_a_closed_client_tells_of_all_its_calls_before_it_disconnects(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    calls = [begin(client, number, timeout=PATIENCE) for number in range(500)]
    ids = await sent(transport, 500)
    transport.unconfirmed = ids[::2]
    await client.close()
    assert transport.cancelled_before_closing == 500
    assert sorted(transport.cancelled) == sorted(("async_work", correlation_id) for correlation_id in ids)
    for number, outcome in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
        assert isinstance(outcome, ConnectionLostError)
        assert (outcome.executed, outcome.accepted) == (None, number % 2 == 1)  # as far as the broker had confirmed it
    assert client.pending == 0


async def test_a_client_that_is_closed_tells_only_of_what_nobody_has_answered(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    answered, cancelled, persistent = begin(client), begin(client), begin(client, persistent=True)
    ids = await sent(transport, 3)
    client.calls.replied(ids[0], reply("result"))
    cancelled.cancel()  # in the turn in which the client is closed
    await client.close()
    assert await answered == "result"
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(ConnectionLostError):
        await persistent  # it is to run to its end on its worker all the same
    assert transport.cancelled == [("async_work", ids[1])]


async def test_a_persistent_call_that_is_cancelled(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, persistent=True)
    (correlation_id,) = await sent(transport)
    assert transport.sent[0].persistent
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert transport.cancelled == [("async_work", correlation_id)]

"""Calls that may run twice and end in an error all the same, before, while or after they are sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
)
from rabibridge_core.transport import ConnectionState
from tests.support.waiting import longer
from tests.unit.client_support import GONE, PATIENCE, begin, lose, make_client, reply, sent, turns

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request
    from tests.unit.scripted_transport import ScriptedTransport


async def test_cancelled_while_it_waits_to_be_sent_again(client: Client, transport: ScriptedTransport) -> None:
    cancelled, kept = begin(client, "cancelled", idempotent=True), begin(client, "kept", idempotent=True)
    ids = await sent(transport, 2)
    lose(client, transport)
    await turns()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert client.pending == 1
    assert transport.cancelled == []  # its first attempt went with the connection, and so does what stops it
    transport.open.set()
    assert (await sent(transport, 3))[2:] == [ids[1]]
    await turns()
    assert len(transport.sent) == 3
    kept.cancel()
    with pytest.raises(asyncio.CancelledError):
        await kept
    assert transport.cancelled == [("async_work", ids[1])]


async def test_closed_while_it_waits_to_be_sent_again(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    calls = [begin(client, number, idempotent=True, timeout=PATIENCE) for number in range(3)]
    ids = await sent(transport, 3)
    lose(client, transport, ids[0])
    await turns()
    await client.close()
    await turns()
    for accepted, call in zip((False, True, True), calls, strict=True):
        assert call.done()
        with pytest.raises(ConnectionLostError, match="closed") as lost:
            await call
        assert (lost.value.executed, lost.value.accepted) == (None, accepted)
    assert (client.pending, len(transport.sent), transport.cancelled) == (0, 3, [])


async def test_the_deadline_passes_between_attempts(client: Client, transport: ScriptedTransport) -> None:
    def lose_it(request: Request) -> None:
        asyncio.get_running_loop().call_soon(lose, client, transport)

    transport.sending = lose_it
    call = begin(client, idempotent=True, timeout=0.05)
    with pytest.raises(CallTimeoutError, match=r"could not be sent again: no connection: the cable was cut") as late:
        await call
    assert late.value.executed is None
    assert any("sent before" in note for note in late.value.__notes__)
    transport.open.set()
    await turns()
    assert len(transport.sent) == 1


@pytest.mark.parametrize("refusal", [QueueFullError, NoRouteError])
async def test_a_refusal_of_the_second_attempt_does_not_say_that_it_did_not_run(
    client: Client, transport: ScriptedTransport, refusal: type[QueueFullError] | type[NoRouteError]
) -> None:
    call = begin(client, idempotent=True)
    (correlation_id,) = await sent(transport)
    lose(client, transport, correlation_id)  # the broker had not confirmed it
    transport.open.set()
    await sent(transport, 2)
    client.calls.refused(correlation_id, refusal, "because")
    with pytest.raises(refusal) as refused:
        await call
    assert refused.value.executed is None
    assert any("cable" in note for note in refused.value.__notes__)
    assert refusal("another").executed is False


async def test_arguments_refused_at_the_second_attempt(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, idempotent=True)
    (correlation_id,) = await sent(transport)
    lose(client, transport)
    transport.open.set()
    await sent(transport, 2)
    client.calls.replied(correlation_id, reply("TypeError: no", 1, {"rb-error": "arguments"}))
    with pytest.raises(InvalidArgumentsError) as refused:
        await call
    assert refused.value.executed is None


@pytest.mark.parametrize("error", [ConfigurationError("may not write"), ValueError("of the transport"), GONE])
async def test_sending_it_again_fails(client: Client, transport: ScriptedTransport, error: Exception) -> None:
    calls = [begin(client, number, idempotent=True) for number in range(2)]
    await sent(transport, 2)
    lose(client, transport)
    transport.fails = error
    transport.open.set()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        # What the broker had confirmed is not among what it refuses.
        expected = ConnectionLostError if isinstance(error, ConfigurationError) else type(error)
        assert type(outcome) is expected
        assert str(error) in str(outcome)
    assert len(transport.sent) == 2
    transport.fails = None


async def test_there_will_be_no_connection_any_more(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, idempotent=True)
    await sent(transport)
    lose(client, transport)
    transport.state = ConnectionState.CLOSED
    transport.open.set()
    with pytest.raises(ConnectionLostError, match="closed") as lost:
        await call
    assert (lost.value.executed, lost.value.accepted) == (None, True)


async def test_waiting_for_the_connection_fails_in_another_way(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, idempotent=True)
    await sent(transport)
    lose(client, transport)
    transport.unusable = ValueError("of the transport")
    transport.open.set()
    with pytest.raises(ValueError, match="of the transport"):
        await call


async def test_what_the_broker_refuses_is_not_sent_again(client: Client, transport: ScriptedTransport) -> None:
    refused, confirmed = begin(client, 0, idempotent=True), begin(client, 1)
    ids = await sent(transport, 2)
    cause = ConfigurationError("the user 'u' may not write to the exchange 'rpc'")
    client.calls.lost(cause, ids[:1])
    with pytest.raises(ConfigurationError, match=r"work.*may not write") as outcome:
        await refused
    assert outcome.value.__cause__ is cause
    assert outcome.value is not cause
    with pytest.raises(ConnectionLostError, match="may not write") as lost:
        await confirmed  # it was not refused, and may have run
    assert (lost.value.executed, lost.value.accepted) == (None, True)


async def test_the_queue_is_full_of_its_own_first_attempt(client: Client, transport: ScriptedTransport) -> None:
    """The broker had confirmed that one: the call is tried again until there is room, or its time is over."""
    call = begin(client, idempotent=True, timeout=PATIENCE)
    (correlation_id,) = await sent(transport)
    lose(client, transport)
    transport.open.set()
    for attempt in range(2, 6):
        await sent(transport, attempt)
        client.calls.refused(correlation_id, QueueFullError, "full")
        assert not call.done()
    await sent(transport, 6)
    client.calls.replied(correlation_id, reply("result"))
    assert await call == "result"
    assert len({request.headers["rb-key"] for request in transport.sent if request.headers}) == 1


async def test_the_queue_stays_full_until_its_time_is_over(client: Client, transport: ScriptedTransport) -> None:
    def lose_or_refuse(request: Request) -> None:
        loop = asyncio.get_running_loop()
        if not transport.sent:
            loop.call_soon(lose, client, transport)
            loop.call_soon(transport.open.set)
        else:
            loop.call_soon(client.calls.refused, request.correlation_id, QueueFullError, "full")

    transport.sending = lose_or_refuse
    timeouts = longer(0.3)
    while True:
        timeout = next(timeouts)
        transport.sent.clear()
        with pytest.raises(CallTimeoutError) as late:
            await begin(client, idempotent=True, timeout=timeout)
        assert late.value.executed is None
        if "could not be sent again" in str(late.value) and len(transport.sent) > 1:  # its time was enough for that
            break
    assert len(transport.sent) < 10 + 30 * timeout
    assert len({request.correlation_id for request in transport.sent}) == 1

"""Calls with a second copy, over a transport where the test is the broker: refusals, losses, timeouts, cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    ConnectionLostError,
    Hedge,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RetryRefused,
)
from tests.unit.client_support import lose, make_client, reply, sent, turns
from tests.unit.hedge_support import a_while, begin, both

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport

_DECLINED = {"rb-hedge": True}


@pytest.mark.parametrize("ending", ["QueueFull", "NoRoute", "lost", "error", "timeout"])
async def test_without_budget_the_error_of_the_first_copy_comes_at_once(
    client: Client, transport: ScriptedTransport, ending: str
) -> None:
    policy = Hedge(after=0.001, ratio=0.0)
    spends = begin(client, policy)
    await both(transport)
    client.calls.replied(transport.sent[0].correlation_id, reply("first"))
    await spends
    call = begin(client, policy, timeout=0.05 if ending == "timeout" else None)
    await a_while()
    assert len(transport.sent) == 3
    first = transport.sent[2].correlation_id
    expected: type[BaseException]
    if ending == "lost":
        call.get_loop().call_soon(lambda: asyncio.ensure_future(client.close()))
        expected = ConnectionLostError
    elif ending == "timeout":
        expected = CallTimeoutError
    elif ending == "error":
        expected = RemoteExecutionError
        client.calls.replied(first, reply("ValueError: no", 1))
    else:
        expected = {"QueueFull": QueueFullError, "NoRoute": NoRouteError}[ending]
        client.calls.refused(first, expected, "no")  # type: ignore[arg-type]
    with pytest.raises(expected):
        await call


async def test_a_refused_call_that_is_sent_again_gets_no_second_copy(
    client: Client, transport: ScriptedTransport
) -> None:
    transport.open.set()
    call = begin(client, Hedge(after=0.02), retry=RetryRefused(base=0.001, cap=0.001))
    (first,) = await sent(transport)
    client.calls.refused(first, QueueFullError, "full")
    await both(transport)  # the first copy again
    await a_while()
    assert [request.correlation_id for request in transport.sent] == [first, first]
    client.calls.replied(first, reply("first"))
    assert await call == "first"


async def test_a_service_that_has_refused_another_call_gets_no_second_copy_meanwhile(
    client: Client, transport: ScriptedTransport
) -> None:
    refused = begin(client)
    client_id = (await sent(transport))[0]
    client.calls.refused(client_id, QueueFullError, "full")
    with pytest.raises(QueueFullError):
        await refused
    call = begin(client)
    await a_while()
    assert len(transport.sent) == 2
    client.calls.replied(transport.sent[1].correlation_id, reply("first"))
    assert await call == "first"


async def test_nothing_is_hedged_that_the_broker_has_not_accepted(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    (first,) = await sent(transport)
    transport.unconfirmed.append(first)
    await a_while()
    assert len(transport.sent) == 1
    transport.unconfirmed.clear()
    await both(transport)
    client.calls.replied(first, reply("first"))
    assert await call == "first"


@pytest.mark.parametrize("refusal", [QueueFullError, NoRouteError])
async def test_a_refused_second_copy_is_not_heard_of(
    client: Client, transport: ScriptedTransport, refusal: Any
) -> None:
    call = begin(client)
    first, second = await both(transport)
    client.calls.refused(second, refusal, "no")
    await turns()
    assert not call.done()
    client.calls.replied(first, reply("first"))
    assert await call == "first"
    assert transport.cancelled == []


async def test_a_second_copy_that_cannot_be_sent(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    (first,) = await sent(transport)
    transport.fails = ConnectionLostError("no connection", executed=False)
    await a_while()
    client.calls.replied(first, reply("first"))
    assert await call == "first"


async def test_after_a_lost_connection_only_the_first_copy_is_sent_again(
    client: Client, transport: ScriptedTransport
) -> None:
    call = begin(client)
    first, second = await both(transport)
    lose(client, transport)
    assert client.pending == 1
    transport.paused = False
    transport.open.set()
    await turns(lambda: len(transport.sent) == 3)
    await a_while()
    assert [request.correlation_id for request in transport.sent] == [first, second, first]
    client.calls.replied(first, reply("first"))
    assert await call == "first"


async def test_the_timeout_ends_both(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=0.05)
    with pytest.raises(CallTimeoutError):
        await call
    first, second = (request.correlation_id for request in transport.sent)
    assert [id_ for _, id_ in transport.cancelled] == [first, second]
    await a_while()
    assert len(transport.sent) == 2


async def test_a_cancelled_call_cancels_both(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    first, second = await both(transport)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [id_ for _, id_ in transport.cancelled] == [first, second]


async def test_a_closing_client_cancels_both(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    call = begin(client)
    first, second = await both(transport)
    await client.close()
    with pytest.raises(ConnectionLostError):
        await call
    assert [id_ for _, id_ in transport.cancelled] == [first, second]
    assert client.pending == 0


async def test_a_declined_second_copy_is_sent_again_four_times_at_once_and_then_ever_more_rarely(
    client: Client, transport: ScriptedTransport
) -> None:
    after, loop = 0.05, asyncio.get_running_loop()
    call, declined = begin(client, Hedge(after=after)), 0.0
    await both(transport)
    for number in range(2, 6):
        assert len(transport.sent) == number
        declined = loop.time()
        client.calls.replied(transport.sent[-1].correlation_id, reply(None, headers=_DECLINED))
        if number < 5:
            await turns()
    for number, pause in ((6, after), (7, 2 * after)):
        while len(transport.sent) < number:  # noqa: ASYNC110 - the timer of the call is what is waited for
            await asyncio.sleep(0.001)
        assert loop.time() >= declined + pause
        declined = loop.time()
        client.calls.replied(transport.sent[-1].correlation_id, reply(None, headers=_DECLINED))
    while client.pending != 1:  # noqa: ASYNC110 - nothing tells that the last one has ended
        await asyncio.sleep(0)
    client.calls.replied(transport.sent[0].correlation_id, reply("first"))
    assert await call == "first"
    assert client.preparation.hedges.sent == 1
    assert transport.cancelled == []

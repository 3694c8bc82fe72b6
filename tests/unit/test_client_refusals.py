"""Refused calls: when to try again, sending again by the client, and the one outcome that each of them has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
)
from tests.unit.client_support import GONE, PATIENCE, begin, reply, sent, turns
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request

AT_ONCE = RetryRefused(attempts=4, base=1e-9, cap=1e-9)
FAR_OFF = RetryRefused(base=1e9, cap=1e9)


@pytest.fixture
def transport() -> ScriptedTransport:
    transport = ScriptedTransport()
    transport.open.set()
    return transport


async def _next(transport: ScriptedTransport) -> bytes:
    """Return the id of the next request, which an eager task has sent already."""
    return (await sent(transport, transport.taken + 1))[-1]


async def _refused(client: Client, transport: ScriptedTransport, retry: RetryRefused | None) -> asyncio.Task[Any]:
    """Return a call that was refused once."""
    call = begin(client, retry=retry)
    client.calls.refused(await _next(transport), QueueFullError, "full")
    return call


def _refusing(client: Client, before: Callable[[], None] = lambda: None) -> Callable[[Request], None]:
    """Return what refuses each request in the next turn of the loop: before any deadline that passes."""

    def sending(request: Request) -> None:
        before()
        asyncio.get_running_loop().call_soon(client.calls.refused, request.correlation_id, QueueFullError, "full")

    return sending


async def _retry_after(client: Client, transport: ScriptedTransport) -> float | None:
    with pytest.raises(QueueFullError) as full:
        await (await _refused(client, transport, None))
    return full.value.retry_after


async def _full_time(
    client: Client, transport: ScriptedTransport, outcome: str = "result", at_least: float = 0.0
) -> None:
    """Let a call be in the queue for longer than a refusal is ago."""
    time, began = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
    await _retry_after(client, transport)
    call = begin(client, timeout=0.05 if outcome == "late" else None)
    correlation_id = await _next(transport)
    was_sent = time()
    while time() - was_sent <= max(was_sent - began, at_least):  # noqa: ASYNC110 - it is time that has to pass
        await asyncio.sleep(0.001)
    if outcome == "cancelled":
        call.cancel()
    elif outcome != "late":
        client.calls.replied(correlation_id, reply(None, 0 if outcome == "result" else 1))
    await asyncio.wait([call])
    assert call.cancelled() or call.exception() is None or outcome != "result"


@pytest.mark.parametrize("outcome", ["result", "error"])
async def test_the_time_of_an_answered_call_is_the_hint(
    client: Client, transport: ScriptedTransport, outcome: str
) -> None:
    began = asyncio.get_running_loop().time()
    assert await _retry_after(client, transport) is None
    await _full_time(client, transport, outcome)
    hint = await _retry_after(client, transport)
    assert hint is not None
    assert 0 < hint < asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("outcome", ["late", "cancelled"])
async def test_a_call_that_is_not_answered_tells_nothing(
    client: Client, transport: ScriptedTransport, outcome: str
) -> None:
    await _full_time(client, transport, outcome)
    assert await _retry_after(client, transport) is None


async def test_a_call_long_after_the_last_refusal_tells_nothing(client: Client, transport: ScriptedTransport) -> None:
    await _retry_after(client, transport)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0.2)
    call = begin(client)
    client.calls.replied(await _next(transport), reply(None))
    took_at_most = asyncio.get_running_loop().time() - began - 0.2
    await call
    assert took_at_most > 0.2 or await _retry_after(client, transport) is None


async def test_another_service_and_another_connection_have_their_own_hint(
    client: Client, transport: ScriptedTransport
) -> None:
    await _full_time(client, transport)
    other = asyncio.create_task(client.call("other", (), {}, CallOptions("async", None)))
    client.calls.refused(await _next(transport), QueueFullError, "full")
    with pytest.raises(QueueFullError) as full:
        await other
    assert full.value.retry_after is None
    assert await _retry_after(client, transport) is not None
    client.calls.lost(GONE, ())
    assert await _retry_after(client, transport) is None


async def test_it_is_sent_again_as_the_same_call(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, "argument", timeout=PATIENCE, retry=AT_ONCE)
    for attempt in (1, 2):
        client.calls.refused((await sent(transport, attempt))[-1], QueueFullError, "full")
        assert client.pending == 1
    correlation_id = (await sent(transport, 3))[-1]
    assert len({request.correlation_id for request in transport.sent}) == 1
    assert len({request.body for request in transport.sent}) == 1
    times = [request.timeout for request in transport.sent]
    assert all(time is not None and 0 < time <= PATIENCE + 1 for time in times)
    client.calls.replied(correlation_id, reply("result"))
    assert await call == "result"
    assert client.stray_replies == 0


async def test_the_last_refusal_goes_to_the_caller(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, retry=AT_ONCE)
    for attempt in range(1, 5):
        client.calls.refused((await sent(transport, attempt))[-1], QueueFullError, "full")
    with pytest.raises(QueueFullError, match="refused 4 times: full; not sent again after attempts=4") as full:
        await call
    assert (full.value.attempts, full.value.executed) == (4, False)
    assert full.value.correlation_id == transport.sent[0].correlation_id.decode()
    await turns()
    assert len(transport.sent) == 4


async def test_without_it_and_for_another_refusal_there_is_one_attempt(
    client: Client, transport: ScriptedTransport
) -> None:
    with pytest.raises(QueueFullError, match=r"refused: full$") as full:
        await (await _refused(client, transport, None))
    assert full.value.attempts == 1
    call = begin(client, retry=AT_ONCE)
    client.calls.refused((await sent(transport, 2))[-1], NoRouteError, "nobody offers it")
    with pytest.raises(NoRouteError, match=r"refused: nobody offers it$"):
        await call
    await turns()
    assert len(transport.sent) == 2


async def test_nobody_offers_it_any_more_at_the_second_attempt(client: Client, transport: ScriptedTransport) -> None:
    call = await _refused(client, transport, AT_ONCE)
    client.calls.refused((await sent(transport, 2))[-1], NoRouteError, "nobody offers it")
    with pytest.raises(NoRouteError, match="refused 2 times") as unknown:
        await call
    assert unknown.value.executed is False


async def test_a_spent_budget(client: Client, transport: ScriptedTransport) -> None:
    retry = RetryRefused(base=1e-9, cap=1e-9, ratio=0.5, burst=1)
    first = begin(client, retry=retry)
    for attempt in (1, 2):
        client.calls.refused((await sent(transport, attempt))[-1], QueueFullError, "full")
    with pytest.raises(QueueFullError, match=r"2 times: full; .*the retry budget of its service is spent"):
        await first
    with pytest.raises(QueueFullError, match="budget") as full:
        await (await _refused(client, transport, retry))  # half a token is in it now
    assert full.value.attempts == 1
    other = asyncio.create_task(client.call("other", (), {}, CallOptions("async", None, retry=retry)))
    client.calls.refused((await sent(transport, 4))[-1], QueueFullError, "full")
    await sent(transport, 5)  # another service has a budget of its own
    other.cancel()
    third = await _refused(client, transport, retry)  # and now there is a whole token
    client.calls.replied((await sent(transport, 7))[-1], reply("result"))
    assert await third == "result"
    with pytest.raises(asyncio.CancelledError):
        await other


async def test_a_wait_beyond_the_deadline_is_not_begun(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=PATIENCE, retry=FAR_OFF)
    client.calls.refused(await _next(transport), QueueFullError, "full")
    with pytest.raises(QueueFullError, match="not sent again, since its time would be over"):
        await call


async def test_a_backlog_beyond_the_deadline_is_not_waited_for(client: Client, transport: ScriptedTransport) -> None:
    await _full_time(client, transport, at_least=0.5)
    transport.sending = _refusing(client)
    call = begin(client, timeout=0.4, retry=AT_ONCE)
    with pytest.raises(QueueFullError, match="its time would be over"):
        await call


async def test_cancelled_while_it_waits(client: Client, transport: ScriptedTransport) -> None:
    call = await _refused(client, transport, FAR_OFF)
    await turns()
    (timer,) = [one.retry_state.timer if one.retry_state else None for one in client.calls.pending.values()]
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (client.pending, transport.cancelled, len(transport.sent)) == (0, [], 1)
    assert timer is not None and timer.cancelled()  # noqa: PT018 - mypy needs the first


async def test_cancelled_after_it_was_sent_again(client: Client, transport: ScriptedTransport) -> None:
    call = await _refused(client, transport, AT_ONCE)
    correlation_id = (await sent(transport, 2))[-1]
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert transport.cancelled == [("async_work", correlation_id)]


async def test_closed_while_it_waits(client: Client, transport: ScriptedTransport) -> None:
    waiting, now_paused = await _refused(client, transport, FAR_OFF), await _refused(client, transport, AT_ONCE)
    transport.pause()
    await asyncio.sleep(0.01)  # longer than the wait of the one, which then waits for the connection
    await client.close()
    for call in (waiting, now_paused):
        with pytest.raises(ConnectionLostError, match=r"closed.*it had been refused") as lost:
            await call
        assert (lost.value.executed, lost.value.accepted) == (False, False)
    assert (client.pending, transport.cancelled) == (0, [])
    assert len(transport.sent) <= 3


async def test_the_connection_is_lost_while_it_waits(client: Client, transport: ScriptedTransport) -> None:
    call = await _refused(client, transport, RetryRefused(base=0.02, cap=0.02))
    transport.pause("no connection")
    client.calls.lost(GONE, ())
    await turns()
    assert client.pending == 1
    transport.open.set()
    client.calls.replied((await sent(transport, 2))[-1], reply("result"))
    assert await call == "result"


async def test_the_connection_is_lost_after_it_was_sent_again(client: Client, transport: ScriptedTransport) -> None:
    call = await _refused(client, transport, AT_ONCE)
    await sent(transport, 2)
    client.calls.lost(GONE, ())
    with pytest.raises(ConnectionLostError, match="cable") as lost:
        await call
    assert (lost.value.executed, lost.value.accepted) == (None, True)


async def test_what_it_may_send_is_taken_away_while_it_waits(client: Client, transport: ScriptedTransport) -> None:
    call = await _refused(client, transport, FAR_OFF)
    client.calls.lost(ConfigurationError("may not write"), ())
    with pytest.raises(ConfigurationError, match="may not write"):
        await call


async def test_the_deadline_passes_while_nothing_can_be_sent(client: Client, transport: ScriptedTransport) -> None:
    transport.sending = _refusing(client, lambda: transport.pause("the broker is short of memory"))
    call = begin(client, timeout=0.3, retry=AT_ONCE)
    with pytest.raises(
        CallTimeoutError, match="it was refused and it could not be sent again: the broker is short of memory"
    ) as late:
        await call
    assert (late.value.executed, late.value.timeout) == (False, 0.3)
    transport.open.set()
    await turns()
    assert len(transport.sent) == 1


async def test_refused_after_the_connection_was_lost(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, idempotent=True, retry=AT_ONCE)
    (correlation_id,) = await sent(transport)
    transport.pause()
    client.calls.lost(GONE, (correlation_id,))
    transport.open.set()
    for attempt in range(2, 6):
        await sent(transport, attempt)
        client.calls.refused(correlation_id, QueueFullError, "full")
    with pytest.raises(QueueFullError, match="4 times") as full:
        await call
    assert full.value.executed is None  # the attempt that was lost may have run

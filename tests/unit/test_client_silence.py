"""A call that times out: its error says what the client knows of the service, and is not held up by asking."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import CallTimeoutError, ConnectionLostError
from tests.unit.client_support import begin, make_client, reply, sent, turns
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client


async def _late(client: Client, **options: object) -> CallTimeoutError:
    with pytest.raises(CallTimeoutError) as late:
        await begin(client, timeout=0.02, **options)
    return late.value


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ((0, 1), "no worker serves it now, and 1 call waits in its queue"),
        ((1, 0), "1 worker serves it now, and 0 calls wait in its queue"),
        ((3, 1000), "3 workers serve it now, and 1000 calls wait in its queue"),
        (None, "no reply within 0.02 s: this client has never had an answer from it"),
    ],
)
async def test_the_state_of_the_queue(
    client: Client, transport: ScriptedTransport, state: tuple[int, int] | None, text: str
) -> None:
    transport.queue_state = state
    assert text in str(await _late(client))
    assert transport.looked == ["rpc_async_work"]


async def test_whether_it_has_ever_answered(client: Client, transport: ScriptedTransport) -> None:
    transport.queue_state = (1, 2)
    assert "never had an answer" in str(await _late(client))
    call = begin(client)
    client.calls.replied((await sent(transport, 2))[-1], reply("result"))
    await call
    late = str(await _late(client))
    assert "never" not in late
    assert "1 worker serves it now" in late


async def test_it_asks_once_for_many(client: Client, transport: ScriptedTransport) -> None:
    transport.queue_state = (0, 500)
    calls = [begin(client, timeout=0.02) for _ in range(500)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all("500 calls wait" in str(outcome) for outcome in outcomes)
    assert len(transport.looked) == 1


async def test_nobody_waits_for_an_answer_that_does_not_come(client: Client, transport: ScriptedTransport) -> None:
    transport.looking.clear()
    assert "no reply within 0.02 s" in str(await _late(client))
    transport.looking.set()


async def test_it_does_not_ask_while_nothing_can_be_sent(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=0.05)
    await sent(transport)
    transport.pause("low on memory")
    with pytest.raises(CallTimeoutError, match=r"no reply within 0.05 s: low on memory") as late:
        await call
    assert late.value.executed is None
    assert transport.looked == []


async def test_a_reply_that_comes_while_it_asks_is_the_result(client: Client, transport: ScriptedTransport) -> None:
    transport.looking.clear()
    transport.on_look = lambda: client.calls.replied(transport.sent[0].correlation_id, reply("just in time"))
    assert await begin(client, timeout=0.02) == "just in time"
    transport.looking.set()


async def test_closed_while_it_asks() -> None:
    transport = ScriptedTransport()
    client = make_client(transport)
    await client.connect()
    transport.looking.clear()
    call = begin(client, timeout=0.02)
    await turns(lambda: bool(transport.looked))
    await client.close()
    with pytest.raises((CallTimeoutError, ConnectionLostError)):
        await call
    assert client.pending == 0

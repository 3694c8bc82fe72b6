"""Calls with a second copy, over a transport where the test is the broker: which calls have one, and who answers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import Hedge, RemoteExecutionError
from rabibridge_core._client.rare_options import RareOptions
from rabibridge_core._client.routes import critical
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._server.active_request import ActiveRequest
from tests.unit.client_support import IDEMPOTENT, reply, sent, turns
from tests.unit.hedge_support import SOON, a_while, begin, both
from tests.unit.scripted_requests import ScriptedRequest

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


async def test_the_second_copy_is_the_same_call(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, headers={"tenant": "a"}, timeout=60.0)
    first, second = await both(transport)
    one, other = transport.sent
    assert one.body == other.body
    assert other.headers == {**(one.headers or {}), "rb-hedge": True}
    assert set(other.headers or {}) == {"tenant", "rb-key", "rb-hedge"}
    assert one.timeout == 60.0
    assert other.timeout is not None
    assert 0 < other.timeout < 60.0
    client.calls.replied(second, reply("second"))
    assert await call == "second"
    assert [id_ for _, id_ in transport.cancelled] == [first]
    assert (client.preparation.hedges.sent, client.preparation.hedges.won) == (1, 1)


async def test_the_first_copy_answers_and_the_second_is_cancelled(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    first, second = await both(transport)
    client.calls.replied(first, reply("first"))
    assert await call == "first"
    assert [id_ for _, id_ in transport.cancelled] == [second]
    client.calls.replied(second, reply("late"))
    assert client.stray_replies == 1
    assert client.preparation.hedges.won == 0


async def test_both_answers_in_one_turn(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    first, second = await both(transport)
    client.calls.replied(second, reply("second"))
    client.calls.replied(first, reply("first"))
    assert await call == "first"
    assert client.stray_replies == 0


async def test_the_answer_comes_in_the_turn_in_which_the_second_copy_goes_out(
    client: Client, transport: ScriptedTransport
) -> None:
    call = begin(client)
    await sent(transport)
    first = transport.sent[0].correlation_id
    transport.sending = lambda _: client.calls.replied(first, reply("first"))
    assert await call == "first"
    assert len(transport.sent) == 2
    assert [id_ for _, id_ in transport.cancelled] == [transport.sent[1].correlation_id]


async def test_an_answer_in_time_sends_nothing(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, Hedge(after=0.05))
    (first,) = await sent(transport)
    client.calls.replied(first, reply("first"))
    assert await call == "first"
    await asyncio.sleep(0.1)
    assert len(transport.sent) == 1
    assert transport.cancelled == []


@pytest.mark.parametrize(
    "options",
    [
        {"idempotent": False},
        {"idempotency_key": "order 7"},
        dict(zip(("kind", "headers"), critical("async", "batch", None), strict=True)),
    ],
    ids=["not idempotent", "key", "batch"],
)
async def test_what_is_never_hedged(
    client: Client, transport: ScriptedTransport, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    call = begin(client, **{**options, "headers": RareOptions(options.get("headers"), None, SOON)})
    (first,) = await sent(transport)
    await a_while()
    assert len(transport.sent) == 1
    client.calls.replied(first, reply("first"))
    assert await call == "first"
    warned = [record for record in caplog.records if "not hedged" in record.getMessage()]
    assert len(warned) == (options.get("idempotent") is False)


async def test_a_service_that_is_learned_to_be_idempotent(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, idempotent=False)
    (first,) = await sent(transport)
    client.calls.replied(first, reply(1, headers=IDEMPOTENT))
    await call
    call = begin(client, idempotent=False)
    await both(transport)
    while len(transport.sent) < 3:  # noqa: ASYNC110 - the timer of the call is what is waited for
        await asyncio.sleep(0.001)
    client.calls.replied(transport.sent[2].correlation_id, reply(2, headers=IDEMPOTENT))
    assert await call == 2


async def test_a_percentile_waits_until_it_is_measured(client: Client, transport: ScriptedTransport) -> None:
    policy = Hedge(percentile=0.9, ratio=1.0)
    for number in range(20):
        call = begin(client, policy)
        first = (await sent(transport, number + 1))[-1]
        await asyncio.sleep(0.003)
        assert len(transport.sent) == number + 1
        client.calls.replied(first, reply(number))
        await call
    call = begin(client, policy)
    while len(transport.sent) < 22:  # noqa: ASYNC110 - the timer of the call is what is waited for
        await asyncio.sleep(0.001)
    client.calls.replied(transport.sent[-1].correlation_id, reply("second"))
    assert await call == "second"


async def test_a_call_leaves_nothing_behind(client: Client, transport: ScriptedTransport) -> None:
    gc.collect()
    gc.disable()
    try:
        call = begin(client)
        first, _ = await both(transport)
        futures = [weakref.ref(each.future) for each in client.calls.pending.values()]
        assert len(futures) == 2
        client.calls.replied(first, reply("first"))
        assert await call == "first"
        del call
        await turns()
        assert [each() for each in futures] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("is_hedge", [False, True])
async def test_a_handler_of_a_second_copy_makes_no_second_copies(
    client: Client, transport: ScriptedTransport, is_hedge: bool
) -> None:
    """So hedges do not multiply: each level adds its own 5 % at most, and to first copies alone."""
    headers = {"rb-hedge": True} if is_hedge else {}
    handled = current_call_var.set(ActiveRequest("outer", ScriptedRequest(headers=headers)))
    try:
        call = begin(client)
        await sent(transport)
        await a_while()
        assert len(transport.sent) == (1 if is_hedge else 2)
        client.calls.replied(transport.sent[0].correlation_id, reply("first"))
        assert await call == "first"
    finally:
        current_call_var.reset(handled)


async def test_quick_failures_do_not_bring_the_percentile_down(client: Client, transport: ScriptedTransport) -> None:
    policy = Hedge(percentile=0.95, ratio=1.0)
    for number in range(50):
        call = begin(client, policy)
        failed = {"rb-error": "execution", "rb-error-type": "builtins.ValueError"}
        client_id = (await sent(transport, number + 1))[-1]
        client.calls.replied(client_id, reply("no", 1, headers=failed))
        with pytest.raises(RemoteExecutionError):
            await call
    call = begin(client, policy)
    await sent(transport, 51)
    await a_while()
    assert len(transport.sent) == 51
    client.calls.replied(transport.sent[-1].correlation_id, reply("first"))
    assert await call == "first"

"""The table of pending calls: an entry leaves it on reply, refusal, timeout, cancel, failed sending and lost link."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    SerializationError,
)
from rabibridge_core.transport import Reply
from tests.unit.client_support import CODEC, PATIENCE, begin, reply, sent

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


async def test_a_reply(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, 1, 2)
    (correlation_id,) = await sent(transport)
    assert client.pending == 1
    client.calls.replied(correlation_id, reply("result"))
    assert await call == "result"
    (request,) = transport.sent
    assert request.routing_key == "async_work"
    assert request.timeout is None
    assert CODEC.decode(request.body, request.content_type, request.content_encoding, b"") == [[1, 2], {}]


async def test_replies_out_of_order(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number) for number in range(10)]
    ids = await sent(transport, 10)
    assert len(set(ids)) == 10
    for number in reversed(range(10)):
        client.calls.replied(ids[number], reply(number))
    assert await asyncio.gather(*calls) == list(range(10))


async def test_replies_that_nobody_waits_for(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    (correlation_id,) = await sent(transport)
    client.calls.replied(b"never sent", reply(0))
    client.calls.replied(b"", reply(0))
    client.calls.replied(correlation_id, reply("first"))
    client.calls.replied(correlation_id, reply("second"))
    assert await call == "first"
    assert client.stray_replies == 3


@pytest.mark.parametrize("refusal", [QueueFullError, NoRouteError])
async def test_a_refusal(
    client: Client, transport: ScriptedTransport, refusal: type[QueueFullError] | type[NoRouteError]
) -> None:
    call = begin(client)
    (correlation_id,) = await sent(transport)
    client.calls.refused(correlation_id, refusal, "because")
    client.calls.refused(correlation_id, refusal, "because, and again")
    with pytest.raises(refusal, match="because") as refused:
        await call
    assert (refused.value.func_name, refused.value.executed) == ("work", False)
    assert refused.value.correlation_id == correlation_id.decode()
    assert client.pending == 0


async def test_a_failure(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    (correlation_id,) = await sent(transport)
    client.calls.replied(correlation_id, reply("Traceback ...\nValueError: no", 1))
    with pytest.raises(RemoteExecutionError) as failed:
        await call
    assert (failed.value.error_type, failed.value.error_message) == ("ValueError", "no")


@pytest.mark.parametrize("value", [None, [], [0], [0, 1, 2], [2, "code"], "text", {"0": 1}, ["0", 1]], ids=repr)
async def test_a_reply_of_another_form(client: Client, transport: ScriptedTransport, value: object) -> None:
    call = begin(client)
    (correlation_id,) = await sent(transport)
    client.calls.replied(correlation_id, Reply(*CODEC.encode(value, b"")))
    with pytest.raises(RemoteExecutionError):
        await call


async def test_a_reply_that_cannot_be_read(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    (correlation_id,) = await sent(transport)
    client.calls.replied(correlation_id, Reply(b"\xc1", "application/msgpack", None))
    with pytest.raises(SerializationError):
        await call
    assert client.pending == 0


async def test_a_timeout(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=0.05)
    (correlation_id,) = await sent(transport)
    assert transport.sent[0].timeout == 0.05
    with pytest.raises(CallTimeoutError) as late:
        await call
    assert (late.value.timeout, late.value.executed, late.value.func_name) == (0.05, None, "work")
    assert client.pending == 0
    client.calls.replied(correlation_id, reply("too late"))
    assert client.stray_replies == 1


async def test_no_timeout_left(client: Client, transport: ScriptedTransport) -> None:
    for timeout in (0, 0.0, -1.0, -math.inf):
        with pytest.raises(CallTimeoutError) as late:
            await begin(client, timeout=timeout)
        assert late.value.executed is False
    assert transport.sent == []


@pytest.mark.parametrize("paused", [False, True])
async def test_an_endless_timeout(client: Client, transport: ScriptedTransport, paused: bool) -> None:
    transport.paused = paused
    for number, timeout in enumerate((math.inf, 1e12)):
        call = begin(client, timeout=timeout)
        transport.open.set()
        correlation_id = (await sent(transport, number + 1))[-1]
        assert not call.done()
        client.calls.replied(correlation_id, reply("result"))
        assert await call == "result"


async def test_a_cancelled_call(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=PATIENCE)
    (correlation_id,) = await sent(transport)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client.pending == 0
    assert transport.cancelled == [("async_work", correlation_id)]
    client.calls.replied(correlation_id, reply("too late"))
    client.calls.refused(correlation_id, QueueFullError, "too late, too")
    assert client.stray_replies == 1


async def test_cancelled_in_the_turn_of_its_reply(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    (correlation_id,) = await sent(transport)
    client.calls.replied(correlation_id, reply("result"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client.pending == 0
    assert transport.cancelled == []  # it has been answered


async def test_sending_fails(client: Client, transport: ScriptedTransport) -> None:
    for error in (ConnectionLostError("gone", executed=False), ValueError("of the transport")):
        transport.fails = error
        with pytest.raises(type(error)) as failed:
            await begin(client, timeout=PATIENCE)
        assert failed.value is error
        assert client.pending == 0


async def test_arguments_that_cannot_be_encoded(client: Client, transport: ScriptedTransport) -> None:
    with pytest.raises(SerializationError):
        await begin(client, object())
    assert (client.pending, transport.sent) == (0, [])


@pytest.mark.parametrize("name", ["", "a b", "ü", "a" * 201, "rpc/x", None, 5])
async def test_names_that_no_service_can_have(client: Client, name: Any) -> None:
    with pytest.raises(ConfigurationError):
        await client.call(name, (), {}, CallOptions("async", None))


@pytest.mark.parametrize("executed", [None, False])
async def test_the_connection_is_lost(
    client: Client, transport: ScriptedTransport, executed: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [begin(client, number, timeout=PATIENCE) for number in range(5)]
    ids = await sent(transport, 5)
    cause = ConnectionLostError("the cable was cut", executed=executed)
    with caplog.at_level(logging.WARNING):
        client.calls.lost(cause, ids[:2])
    assert client.pending == 0
    for number, outcome in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
        assert isinstance(outcome, ConnectionLostError)
        assert outcome.accepted is (number >= 2)
        assert outcome is not cause  # each has its own: a traceback and notes are not shared
        assert outcome.__cause__ is cause
        assert outcome.executed is executed
        assert "work" in str(outcome)
        assert "the cable was cut" in str(outcome)
    (record,) = caplog.records
    assert "5 pending calls" in record.getMessage()
    client.calls.lost(cause, ())  # nothing is pending: nothing to say
    assert len(caplog.records) == 1


async def test_waiting_to_send(client: Client, transport: ScriptedTransport) -> None:
    transport.paused = True
    late = begin(client, "late", timeout=0.05)
    calls = [begin(client, number, timeout=PATIENCE) for number in range(3)]
    cancelled = begin(client, "cancelled")
    with pytest.raises(CallTimeoutError) as timed_out:
        await late
    assert (timed_out.value.executed, timed_out.value.timeout) == (False, 0.05)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (client.pending, transport.sent, transport.cancelled) == (0, [], [])
    transport.open.set()
    for correlation_id in await sent(transport, 3):
        client.calls.replied(correlation_id, reply("sent"))
    assert await asyncio.gather(*calls) == ["sent"] * 3
    assert all(0 < (request.timeout or 0) < PATIENCE for request in transport.sent)  # what is left of it is sent


async def test_ten_thousand_calls_leave_nothing(client: Client, transport: ScriptedTransport) -> None:
    calls = [begin(client, number, timeout=PATIENCE) for number in range(10_000)]
    for number, correlation_id in enumerate(await sent(transport, 10_000)):
        client.calls.replied(correlation_id, reply(number))
    assert await asyncio.gather(*calls) == list(range(10_000))
    assert client.pending == 0
    assert len(client.calls.deadlines) == 0


async def test_a_failed_call_keeps_nothing_alive(client: Client, transport: ScriptedTransport) -> None:
    class Argument(list[int]):
        pass

    argument = Argument([1])
    alive = weakref.ref(argument)
    gc.collect()
    gc.disable()
    try:
        with suppress(CallTimeoutError):
            await client.call("work", (argument,), {}, CallOptions("async", 0.01))
        del argument
        await asyncio.sleep(0)  # the event loop holds the future of the call until the end of this turn
        assert alive() is None  # no cycle of frame and exception waits for the collector
    finally:
        gc.enable()

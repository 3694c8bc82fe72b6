"""How much time a call gets: its own, the client's default, or what is left to the call that is being processed."""

from __future__ import annotations

import asyncio
import math
import pickle
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import pytest

from rabibridge_core._observability.call_context import CurrentCall, current_call_var
from rabibridge_core.errors import CallTimeoutError, ConfigurationError, ConnectionLostError, RemoteExecutionError
from tests.unit.client_support import PATIENCE, begin, make_client, reply, sent
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core._client.client import Client


@contextmanager
def _answering(seconds: float | None) -> Iterator[CurrentCall]:
    """Be in a handler whose caller has so many seconds left."""
    outer = CurrentCall("outer", cast("Any", SimpleNamespace(headers={})))
    outer.ends_at = None if seconds is None else time.monotonic() + seconds
    token = current_call_var.set(outer)
    try:
        yield outer
    finally:
        current_call_var.reset(token)


async def _time_sent(
    client: Client, transport: ScriptedTransport, timeout: float | None, **options: Any
) -> float | None:
    """Return the time left with which a call is sent."""
    count = len(transport.sent) + 1
    call = begin(client, timeout=timeout, **options)
    client.calls.replied((await sent(transport, count))[-1], reply(None))
    await call
    return transport.sent[-1].timeout


@pytest.mark.parametrize(
    ("given", "expected"), [(None, 20.0), (5.0, 5.0), (40.0, 40.0), (math.inf, None)], ids=lambda value: str(value)
)
async def test_the_default_is_for_calls_that_are_given_none(given: float | None, expected: float | None) -> None:
    transport = ScriptedTransport()
    client = make_client(transport, call_timeout=20.0)
    await client.connect()
    assert await _time_sent(client, transport, given) == expected
    await client.close()


async def test_the_default_ends_a_call() -> None:
    client = make_client(ScriptedTransport(), call_timeout=0.02)
    await client.connect()
    with pytest.raises(CallTimeoutError) as late:
        await begin(client)
    assert (late.value.timeout, late.value.executed) == (0.02, None)
    await client.close()


@pytest.mark.parametrize("given", [None, PATIENCE, math.inf])
async def test_a_handler_passes_on_no_more_than_it_has(
    client: Client, transport: ScriptedTransport, given: float | None
) -> None:
    with _answering(10.0):
        inherited = await _time_sent(client, transport, given)
        assert inherited is not None
        assert 0 < inherited <= 10.0
        assert await _time_sent(client, transport, 1.0) == 1.0
        assert await _time_sent(client, transport, 20.0, inherit_deadline=False) == 20.0
        assert await _time_sent(client, transport, None, inherit_deadline=False) is None
    assert await _time_sent(client, transport, 20.0) == 20.0


async def test_a_handler_without_a_limit(client: Client, transport: ScriptedTransport) -> None:
    with _answering(None):
        assert await _time_sent(client, transport, None) is None
        assert await _time_sent(client, transport, 20.0) == 20.0


async def test_what_goes_on_after_its_answer_inherits_nothing(client: Client, transport: ScriptedTransport) -> None:
    with _answering(0.0) as outer:
        outer.over = True
        assert await _time_sent(client, transport, 20.0) == 20.0


async def test_nothing_is_left_to_the_handler(client: Client, transport: ScriptedTransport) -> None:
    with _answering(-1.0), pytest.raises(CallTimeoutError, match="left to the call that is being processed") as late:
        await begin(client, timeout=PATIENCE)
    assert (late.value.executed, late.value.timeout) == (False, 0.0)
    assert transport.sent == []


async def test_the_error_says_where_its_time_comes_from(client: Client, transport: ScriptedTransport) -> None:
    with _answering(0.02), pytest.raises(CallTimeoutError, match="the time left to the call that is being") as late:
        await begin(client, timeout=PATIENCE)
    assert 0 < late.value.timeout <= 0.02
    assert type(late.value.timeout) is float
    assert pickle.loads(pickle.dumps(late.value)).timeout == late.value.timeout


async def test_not_a_number_in_a_handler(client: Client) -> None:
    with _answering(10.0), pytest.raises(ConfigurationError, match="nan"):
        await begin(client, timeout=math.nan)


async def test_the_error_says_why_it_could_not_be_sent(client: Client, transport: ScriptedTransport) -> None:
    for why in ("the broker is short of memory", ""):
        transport.pause(why)
        with pytest.raises(CallTimeoutError, match=f"could not be sent within 0.01 s: {why}") as late:
            await begin(client, timeout=0.01)
        assert late.value.executed is False


@pytest.mark.parametrize("persistent", [False, True])
async def test_persistent_requests(client: Client, transport: ScriptedTransport, persistent: bool) -> None:
    await _time_sent(client, transport, None, persistent=persistent)
    assert transport.sent[0].persistent is persistent
    assert transport.sent[0].headers is None


async def test_a_call_that_an_at_most_once_service_does_not_run_again(
    client: Client, transport: ScriptedTransport
) -> None:
    call = begin(client)
    client.calls.replied((await sent(transport))[0], reply("", 1, {"rb-error": "redelivered"}))
    with pytest.raises(ConnectionLostError, match=r"'work'.*worker.* is gone.*may have run") as lost:
        await call
    assert (lost.value.executed, lost.value.accepted) == (None, True)


async def test_a_call_that_was_given_to_workers_too_often(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client)
    headers = {"rb-error": "dead", "rb-error-type": "x.Dead", "rb-error-message": "given to 6 workers"}
    client.calls.replied((await sent(transport))[0], reply("given to 6 workers", 1, headers))
    with pytest.raises(RemoteExecutionError, match="given to 6 workers") as dead:
        await call
    assert dead.value.executed is None


async def test_the_timeout_covers_the_wait_and_the_call(client: Client, transport: ScriptedTransport) -> None:
    transport.pause()
    call = begin(client, timeout=PATIENCE)
    await asyncio.sleep(0)  # let it begin to wait
    transport.open.set()
    (correlation_id,) = await sent(transport)
    assert 0 < (transport.sent[0].timeout or 0) < PATIENCE
    client.calls.replied(correlation_id, reply("result"))
    assert await call == "result"


def _expire_now(client: Client) -> None:
    """Let the deadlines of calls that share a timer come, before any task runs."""
    wheel = client.calls.deadlines
    ((slot, timer),) = wheel._timers.items()
    timer.cancel()
    wheel._fire(slot)


async def _two_of_one_slot(client: Client, transport: ScriptedTransport) -> tuple[asyncio.Task[Any], asyncio.Task[Any]]:
    """Return two calls whose deadlines share a timer."""
    now = asyncio.get_running_loop().time()
    with patch.object(asyncio.get_running_loop(), "time", lambda: now):
        first, second = begin(client, timeout=0.5), begin(client, timeout=0.5)
        await sent(transport, 2)
    return first, second


@pytest.mark.parametrize("paused", [False, True])
async def test_an_answer_in_the_turn_of_the_deadline_wins_and_the_next_call_still_times_out(
    client: Client, transport: ScriptedTransport, paused: bool
) -> None:
    calls = await _two_of_one_slot(client, transport)
    if paused:
        transport.pause("the broker asks for it")
    client.calls.replied(transport.sent[0].correlation_id, reply("in time"))
    _expire_now(client)
    assert await calls[0] == "in time"
    with pytest.raises(CallTimeoutError):
        await calls[1]


async def test_a_loss_in_the_turn_of_the_deadline_leaves_no_other_call_behind(
    client: Client, transport: ScriptedTransport
) -> None:
    calls = await _two_of_one_slot(client, transport)
    lost = client.calls.pending[transport.sent[0].correlation_id]
    del client.calls.pending[transport.sent[0].correlation_id]  # as a lost connection does
    lost.end(ConnectionLostError("the cable was cut"))
    _expire_now(client)
    with pytest.raises(ConnectionLostError):
        await calls[0]
    with pytest.raises(CallTimeoutError):
        await calls[1]

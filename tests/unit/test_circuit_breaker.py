"""Calls behind a circuit breaker: which are sent, and however a probe ends, the next one runs."""

from __future__ import annotations

import asyncio
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    AccessDeniedError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    ConfigurationError,
    ConnectionLostError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RMQClient,
    SerializationError,
    ServiceError,
)
from rabibridge.sync import Client as SyncClient
from rabibridge_core._client.breaking import outcome_of
from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.rare_options import RareOptions
from rabibridge_core._protocol.remote_errors import ACCESS_DENIED, INVALID_ARGUMENTS
from tests.unit.client_support import lose, make_client, reply, sent, turns

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing import FakeBroker
    from tests.unit.scripted_transport import ScriptedTransport

POLICY = CircuitBreaker(minimum=2, open_for=0.02)
LONG = CircuitBreaker(minimum=2, open_for=1000.0)


def begin(
    client: Client, policy: CircuitBreaker = POLICY, *args: Any, name: str = "work", **options: Any
) -> asyncio.Task[Any]:
    chosen = CallOptions(headers=RareOptions(None, breaker=policy), **options)
    return asyncio.create_task(client.call(name, args, {}, chosen))


async def opened(client: Client, transport: ScriptedTransport, policy: CircuitBreaker = POLICY) -> None:
    """Let two calls fail."""
    for _ in range(2):
        before = len(transport.sent)
        call = begin(client, policy)
        (id_,) = await sent(transport, before + 1) if not before else (await sent(transport, before + 1))[-1:]
        client.calls.refused(id_, QueueFullError, "full")
        with pytest.raises(QueueFullError):
            await call


async def probe(client: Client, transport: ScriptedTransport, **options: Any) -> tuple[asyncio.Task[Any], bytes]:
    """Wait until a probe is sent; return it and its id."""
    before = len(transport.sent)
    while True:
        call = begin(client, **options)
        await turns(lambda call=call: call.done() or len(transport.sent) > before)  # type: ignore[misc]
        if not call.done():
            return call, transport.sent[-1].correlation_id
        assert isinstance(call.exception(), CircuitOpenError)
        await asyncio.sleep(0.001)


async def test_calls_that_fail_open_it_and_further_ones_are_not_sent(
    client: Client, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    await opened(client, transport, LONG)
    with pytest.raises(
        CircuitOpenError, match="its circuit breaker is open; the next probe may be sent in 1"
    ) as caught:
        await begin(client, LONG)
    assert caught.value.executed is False
    assert caught.value.func_name == "work"
    assert 900 < caught.value.retry_after <= 1100
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.retry_after) == (str(caught.value), caught.value.retry_after)
    assert len(transport.sent) == 2
    assert client.preparation.circuits.refused == 1
    health = client.health()
    assert health.ok
    assert [reason for reason in health.reasons if "circuit breaker of 'work' is open" in reason]
    assert len([record for record in caplog.records if "its circuit breaker is open" in record.getMessage()]) == 1


async def test_services_and_policies_have_circuits_of_their_own(client: Client, transport: ScriptedTransport) -> None:
    await opened(client, transport, LONG)
    for options in ({"name": "other", "policy": LONG}, {"name": "work", "policy": POLICY}):
        before = len(transport.sent)
        call = begin(client, **options)  # type: ignore[arg-type]
        await sent(transport, before + 1)
        client.calls.replied(transport.sent[-1].correlation_id, reply(1))
        assert await call == 1


async def test_a_probe_that_succeeds_closes_it(
    client: Client, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    await opened(client, transport)
    call, id_ = await probe(client, transport)
    with pytest.raises(CircuitOpenError, match="half-open"):
        await begin(client)
    client.calls.replied(id_, reply("well"))
    assert await call == "well"
    assert client.health().reasons == ()
    assert len([record for record in caplog.records if "is closed" in record.getMessage()]) == 1


async def test_a_probe_that_fails_opens_it_again(client: Client, transport: ScriptedTransport) -> None:
    await opened(client, transport)
    call, id_ = await probe(client, transport)
    client.calls.replied(id_, reply("ValueError: no", 1))
    with pytest.raises(RemoteExecutionError):
        await call
    with pytest.raises(CircuitOpenError):
        await begin(client)
    call, id_ = await probe(client, transport)
    client.calls.replied(id_, reply("well"))
    assert await call == "well"


@pytest.mark.parametrize("ending", ["cancel", "deadline", "lost", "arguments", "denied", "unencodable"])
async def test_the_next_probe_runs_however_one_ends(client: Client, transport: ScriptedTransport, ending: str) -> None:
    await opened(client, transport)
    call, id_ = await probe(client, transport, timeout=0.05 if ending == "deadline" else None)
    expected: type[BaseException] = asyncio.CancelledError
    if ending == "cancel":
        call.cancel()
    elif ending == "deadline":
        expected = CallTimeoutError
    elif ending == "lost":
        expected = ConnectionLostError
        lose(client, transport)
        transport.paused = False
    elif ending == "unencodable":
        call.cancel()
        await asyncio.wait([call])
        with pytest.raises(SerializationError):
            await begin(client, POLICY, object())
    else:
        kind = {"arguments": INVALID_ARGUMENTS, "denied": ACCESS_DENIED}[ending]
        expected = {"arguments": InvalidArgumentsError, "denied": AccessDeniedError}[ending]
        client.calls.replied(id_, reply("no", 1, headers={"rb-error": kind, "rb-error-type": "x"}))
    with pytest.raises(expected):
        await call
    if ending == "deadline":  # it says that the service fails
        assert next(client.preparation.circuits.not_closed())[1].state == "open"
    else:
        assert next(client.preparation.circuits.not_closed())[1].state == "half-open"
    call, id_ = await probe(client, transport)
    client.calls.replied(id_, reply("well"))
    assert await call == "well"


async def test_a_closed_client_and_a_call_that_is_never_awaited_hold_no_permit(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    await opened(client, transport)
    await asyncio.sleep(0.05)
    never = client.call("work", (), {}, CallOptions(headers=RareOptions(None, breaker=POLICY)))
    never.close()
    call, _ = await probe(client, transport)
    await client.close()
    with pytest.raises(ConnectionLostError):
        await call
    circuit = next(client.preparation.circuits.not_closed())[1]
    assert circuit.state == "half-open"
    assert circuit.enter(1e12) is not None


async def test_a_task_that_is_destroyed_gives_its_permit_back(client: Client, transport: ScriptedTransport) -> None:
    await opened(client, transport)
    await asyncio.sleep(0.05)
    coroutine = client.call("work", (), {}, CallOptions(headers=RareOptions(None, breaker=POLICY)))
    coroutine.send(None)  # it is sent, and waits for its reply
    assert len(transport.sent) == 3
    coroutine.close()
    call, id_ = await probe(client, transport)
    client.calls.replied(id_, reply("well"))
    assert await call == "well"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
async def test_a_forked_child_begins_anew(client: Client, transport: ScriptedTransport) -> None:
    await opened(client, transport)
    call, id_ = await probe(client, transport)
    pid = os.fork()
    if not pid:
        os._exit(len(list(client.preparation.circuits.not_closed())))
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    client.calls.replied(id_, reply("well"))
    assert await call == "well"


class _Declared(ServiceError, code="test.declared.circuit"):
    pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (QueueFullError("full"), "failure"),
        (NoRouteError("none"), "failure"),
        (CallTimeoutError("late", timeout=1.0), "failure"),
        (RemoteExecutionError("raised"), "failure"),
        (InvalidArgumentsError("no"), "neither"),
        (AccessDeniedError("no"), "neither"),
        (ConnectionLostError("gone"), "neither"),
        (asyncio.CancelledError(), "neither"),
        (CallTimeoutError("never sent", timeout=1.0, executed=False), "neither"),
    ],
)
def test_what_the_end_of_a_call_says(error: BaseException, expected: str) -> None:
    assert outcome_of(error) == expected


@pytest.mark.parametrize("wrong", [True, 5, "on", 0.5])
async def test_a_wrong_breaker(wrong: Any, fake_broker: FakeBroker) -> None:
    async with RMQClient() as client:
        with pytest.raises(ConfigurationError, match="it must be a CircuitBreaker"):
            client.options(breaker=wrong)


async def test_views_stubs_and_map_share_the_circuit_of_a_client(fake_broker: FakeBroker) -> None:
    async def work(number: int) -> int:
        raise ValueError(number)

    fake_broker.add_service(work)
    async with RMQClient() as client, RMQClient() as other:
        view = client.options(breaker=LONG)
        results = [each async for each in view.map("work", range(5), concurrency=1, return_exceptions=True)]
        assert [type(each) for each in results] == [RemoteExecutionError] * 2 + [CircuitOpenError] * 3
        with pytest.raises(CircuitOpenError):
            await client.stub("work", breaker=LONG)(1)
        with pytest.raises(RemoteExecutionError):
            await view.options(breaker=False).call("work", 1)
        with pytest.raises(RemoteExecutionError):
            await other.options(breaker=LONG).call("work", 1)
        assert "circuit breaker of 'work' is open" in client.health().reasons[0]


def test_the_synchronous_client_has_it_too(fake_broker: FakeBroker) -> None:
    fake_broker.refuse("work")
    with SyncClient() as client:
        view = client.options(breaker=LONG)
        for _ in range(2):
            with pytest.raises(QueueFullError):
                view.call("work")
        with pytest.raises(CircuitOpenError):
            view.call("work")
        assert "circuit breaker of 'work' is open" in client.health().reasons[0]

"""A client is healthy while it has a connection, and says what keeps calls from being sent."""

from __future__ import annotations

from rabibridge_core._observability.health import Health
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.transport import ConnectionState
from tests.unit.client_support import begin, make_client, reply, sent
from tests.unit.scripted_transport import ScriptedTransport


async def test_from_the_first_connection_to_the_last() -> None:
    transport = ScriptedTransport()
    client = make_client(transport)
    assert client.health() == Health(False, ConnectionState.IDLE, ("the connection is idle",))
    await client.connect()
    assert client.health() == Health(True, ConnectionState.READY)
    assert client.health()
    transport.state, transport.last_error = ConnectionState.LOST, ConnectionLostError("the cable was cut")
    assert not client.health()
    assert client.health().reasons == ("the connection is lost: the cable was cut",)
    transport.state, transport.last_error = ConnectionState.READY, None
    assert client.health()
    await client.close()
    assert client.health() == Health(False, ConnectionState.CLOSED, ("the client is closed",))


async def test_a_pause_is_a_reason_and_no_failure() -> None:
    transport = ScriptedTransport()
    client = make_client(transport, max_pending=1)
    await client.connect()
    call = begin(client)
    (correlation_id,) = await sent(transport)
    transport.pause("the broker is short of memory")
    health = client.health()
    assert health.ok
    assert health.reasons == ("the broker is short of memory", "max_pending=1 calls are pending")
    client.calls.replied(correlation_id, reply(None))
    await call
    transport.pause()
    assert client.health().reasons == ("the connection accepts no calls now",)
    await client.close()


async def test_before_the_way_for_calls_is_open() -> None:
    transport = ScriptedTransport()
    transport.state = ConnectionState.READY
    health = make_client(transport).health()
    assert not health
    assert health.reasons == ("the client is not ready to call yet",)

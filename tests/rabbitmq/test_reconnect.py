"""Connections that break, brokers that restart, queues that are deleted: everything comes back by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, ConnectionLostError, RabiBridgeError
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge._transport.worker_session import WorkerSession
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate, Stage, ctl, until_call_gives, vhost_of
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQBase, RMQClient
    from rabibridge_core.transport import ServiceQueue
    from tools.broker import Broker

pytestmark = pytest.mark.chaos


@pytest.fixture
async def own_stage(own_node: Broker) -> AsyncIterator[Stage]:
    """A stage on a broker that may be killed."""
    stage = Stage(await asyncio.to_thread(own_node.fresh_vhost))
    yield stage
    await stage.close()


def _abort(one: RMQBase) -> None:
    transport: Any = one._transport
    transport.abort()


async def _works(client: RMQClient, name: str, argument: Any = 1) -> None:
    """Wait until a call succeeds: one that is under way when a connection goes ends with ConnectionLostError."""
    await until_call_gives(client, name, argument, argument)


async def _echo_service(stage: Stage) -> str:
    async def echo(value: Any) -> Any:
        return value

    return await stage.serve(echo)


async def test_a_client_that_loses_its_connection(stage: Stage) -> None:
    gate = Gate()
    name, echo = await stage.serve(gate.function()), await _echo_service(stage)
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(5)]
    await gate.holds(5)
    _abort(client)
    for outcome in await soon(asyncio.gather(*calls, return_exceptions=True)):
        assert isinstance(outcome, ConnectionLostError)
        assert outcome.executed is None
        assert name in str(outcome)
    assert client.pending == 0
    assert await soon(client.remote_call(echo, (1,), timeout=PATIENCE)) == 1  # it waits for the next connection
    assert client.state is ConnectionState.READY
    gate.opened.set()


async def test_a_server_that_loses_its_connection(stage: Stage) -> None:
    gate = Gate()
    function = gate.function()
    name = stage.register(function, fetch_size=2)
    server = await stage.server(function)
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(5)]
    await gate.holds(2)
    _abort(server)
    await gate.holds(2)  # what was in hand was stopped, went back to the queue, and runs again
    assert gate.cancelled == 2
    gate.opened.set()
    assert await soon(asyncio.gather(*calls)) == list(range(5))
    assert gate.most == 2
    assert client.stray_replies == 0


async def test_both_at_once_again_and_again(stage: Stage) -> None:
    async def echo(value: int) -> int:
        return value

    name = stage.register(echo)
    server, client = await stage.server(echo), await stage.client()
    for number in range(10):
        _abort(client)
        _abort(server)
        outcomes = await soon(
            asyncio.gather(
                *(client.remote_call(name, (number,), timeout=PATIENCE) for _ in range(10)), return_exceptions=True
            )
        )
        assert all(one == number or isinstance(one, ConnectionLostError) for one in outcomes)
        await _works(client, name, number)
    assert client.pending == 0


async def test_the_broker_closes_all_connections(stage: Stage, governed: Broker) -> None:
    gate = Gate()
    name, echo = await stage.serve(gate.function()), await _echo_service(stage)
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await gate.holds(1)
    await ctl(governed, "close_all_connections", "--vhost", vhost_of(stage.url), "for a test")
    with pytest.raises(ConnectionLostError):
        await soon(call)
    await _works(client, echo)
    gate.opened.set()


async def test_calls_without_a_connection_wait_within_their_timeout(stage: Stage) -> None:
    echo = await _echo_service(stage)
    async with Proxy(stage.url) as proxy:
        client = await stage.client(url=proxy.url)
        proxy.refusing = True
        proxy.cut()
        await until(lambda: client.state is ConnectionState.LOST)
        with pytest.raises(CallTimeoutError) as late:
            await soon(client.remote_call(echo, (1,), timeout=0.2))
        assert late.value.executed is False
        assert "could not be sent" in str(late.value)
        waiting = [asyncio.create_task(client.remote_call(echo, (number,), timeout=PATIENCE)) for number in range(20)]
        unlimited = asyncio.create_task(client.remote_call(echo, (20,)))
        cancelled = asyncio.create_task(client.remote_call(echo, (21,)))
        await asyncio.sleep(0)  # let them begin to wait
        cancelled.cancel()
        proxy.refusing = False
        assert await soon(asyncio.gather(*waiting, unlimited)) == list(range(21))
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert client.pending == 0
        await client.close()


async def test_closing_without_a_connection(stage: Stage) -> None:
    async with Proxy(stage.url) as proxy:
        client = await stage.client(url=proxy.url)
        server = await stage.server(url=proxy.url, start=False)
        proxy.refusing = True
        proxy.cut()
        await until(lambda: client.state is server.state is ConnectionState.LOST)
        call = asyncio.create_task(client.remote_call("anything"))
        await asyncio.sleep(0)  # let it begin to wait
        await soon(client.close())
        await soon(server.close())
        with pytest.raises(ConnectionLostError) as lost:
            await soon(call)
        assert lost.value.executed is False


async def test_a_queue_that_is_deleted_under_its_service(stage: Stage, governed: Broker) -> None:
    echo = await _echo_service(stage)
    client = await stage.client()
    vhost = vhost_of(stage.url)
    for number in range(3):
        await _works(client, echo, number)
        await ctl(governed, "delete_queue", "-p", vhost, f"rpc_async_{echo}")
        await _works(client, echo, number)
    bindings = await ctl(governed, "list_bindings", "-p", vhost, "source_name", "routing_key")
    keys = sorted(key for source, key in bindings if source == "rpc")
    assert keys == [f"any:{echo}", f"async_{echo}", f"cancel:any:{echo}", f"cancel:async_{echo}", "cancel:control"]


async def test_a_queue_that_is_deleted_while_its_service_comes_back_with_others(
    stage: Stage, governed: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quick(value: int) -> int:
        return value

    async def slow(value: int) -> int:
        return value

    names = [stage.register(function) for function in (quick, slow)]
    server, client = await stage.server(quick, slow), await stage.client()
    for name in names:
        await _works(client, name)
    transport = server._transport
    assert isinstance(transport, RabbitMQTransport)
    consumers = {consumer.queue.name: consumer for consumer in transport._supervisor._consumers}
    opened, prepare = asyncio.Event(), WorkerSession.prepare

    async def prepared(session: WorkerSession, queue: ServiceQueue) -> ServiceQueue:
        if queue.name == f"rpc_async_{names[1]}":
            await opened.wait()  # until then, the connection is not ready
        return await prepare(session, queue)

    monkeypatch.setattr(WorkerSession, "prepare", prepared)
    first = consumers[f"rpc_async_{names[0]}"]
    _abort(server)
    try:
        await until(lambda: not first.live)
        await until(lambda: first.live)
        await ctl(governed, "delete_queue", "-p", vhost_of(stage.url), f"rpc_async_{names[0]}")
        await _works(client, names[0])
    finally:
        opened.set()
    for name in names:
        await _works(client, name)


async def test_the_reply_queue_is_deleted(stage: Stage, governed: Broker) -> None:
    echo = await _echo_service(stage)
    client = await stage.client()
    vhost = vhost_of(stage.url)
    rows = await ctl(governed, "list_queues", "-p", vhost, "name", "exclusive", "arguments")
    (replies,) = [name for name, exclusive, arguments in rows if exclusive == "true" and "x-expires" not in arguments]
    # rabbitmqctl may not delete an exclusive queue; the broker itself may.
    queue = f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{replies}">>)'
    await asyncio.to_thread(
        governed.ctl, "eval",
        f"{{ok, Q}} = rabbit_amqqueue:lookup({queue}), rabbit_amqqueue:delete(Q, false, false, <<\"test\">>).",
    )  # fmt: skip
    await _works(client, echo)


async def test_a_broker_that_dies_and_comes_back(own_stage: Stage, own_node: Broker) -> None:
    gate = Gate()
    name, echo = await own_stage.serve(gate.function()), await _echo_service(own_stage)
    client = await own_stage.client()
    pending = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(3)]
    await gate.holds(3)
    own_node.kill()
    for outcome in await soon(asyncio.gather(*pending, return_exceptions=True)):
        assert isinstance(outcome, ConnectionLostError)
        assert outcome.executed is None
    with pytest.raises(CallTimeoutError) as late:
        await soon(client.remote_call(echo, (1,), timeout=0.2))
    assert late.value.executed is False
    waiting = asyncio.create_task(client.remote_call(echo, (2,)))
    await asyncio.to_thread(own_node.start)
    gate.opened.set()
    async with asyncio.timeout(60):
        assert await waiting == 2
    await _works(client, name, 5)
    rows = await ctl(own_node, "list_consumers", "-p", vhost_of(own_stage.url), "queue_name", "prefetch_count")
    assert sorted(queue for queue, _ in rows if queue.startswith("rpc_")) == sorted(
        [f"rpc_async_{name}", f"rpc_async_{echo}"]
    )


async def test_a_virtual_host_that_is_deleted_ends_everything_with_an_error(
    own_stage: Stage, own_node: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rabibridge_core.connection.connector._MAX_REFUSALS", 3
    )  # each takes twice as long as the one before
    gate = Gate()
    function = gate.function()
    name = own_stage.register(function)
    server = own_stage.new_server()
    server.load_services({"function": function})
    await soon(server.connect())
    serving = asyncio.create_task(server.run_serve())
    client = await own_stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await gate.holds(1)
    await asyncio.to_thread(own_node.ctl, "delete_vhost", vhost_of(own_stage.url))
    with pytest.raises(ConnectionLostError):
        await soon(call)
    with pytest.raises(ConfigurationError, match=vhost_of(own_stage.url)):  # trying again cannot help
        await soon(serving)
    with pytest.raises(RabiBridgeError):
        await soon(client.remote_call(name))
    assert client.state is server.state is ConnectionState.CLOSED


async def test_what_was_accepted_is_answered_over_the_next_connection(stage: Stage) -> None:
    gate = Gate()
    function = gate.function()
    name = stage.register(function, delivery="at-most-once")
    client = await stage.client()
    async with Proxy(stage.url) as proxy:
        server = await stage.server(function, url=proxy.url)
        call = asyncio.create_task(client.remote_call(name, (1,), timeout=PATIENCE))
        await gate.holds(1)
        proxy.refusing = True
        _abort(server)
        gate.opened.set()
        await until(lambda: gate.running == 0)
        proxy.refusing = False
        assert await soon(call) == 1
        await soon(server.close())

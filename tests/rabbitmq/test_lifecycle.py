"""Connecting, serving, closing: in any order, and more than once."""

from __future__ import annotations

import asyncio
import gc
import signal
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import rabibridge
from rabibridge import (
    ConfigurationError,
    ConnectionLostError,
    RMQBase,
    RMQClient,
    RMQServer,
    ServiceSchema,
)
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate, until_call_gives
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage


async def _answer() -> str:
    return "answer"


async def test_connecting_and_closing_twice_does_no_harm(stage: Stage) -> None:
    answer = _fresh()
    name = stage.register(answer)
    server = stage.new_server()
    server.load_services({"answer": answer})
    assert await soon(server.connect()) is server
    assert await soon(server.connect()) is server
    stage.start(server)
    client = RMQClient(url=stage.url)
    assert await soon(client.connect()) is client
    assert await soon(client.connect()) is client
    assert await soon(client.remote_call(name)) == "answer"
    for _ in range(2):
        await soon(client.close())
        await soon(server.close())
    assert client.state is ConnectionState.CLOSED
    assert server.state is ConnectionState.CLOSED


async def test_connecting_at_once(stage: Stage) -> None:
    client = await stage.client()
    server = stage.new_server()
    await soon(asyncio.gather(*(client.connect() for _ in range(5)), *(server.connect() for _ in range(5))))
    assert client.state is server.state is ConnectionState.READY


async def test_a_client_before_connect_and_after_close(stage: Stage) -> None:
    client = RMQClient(url=stage.url)
    with pytest.raises(ConnectionLostError, match="connect") as early:
        await client.remote_call("anything")
    assert early.value.executed is False
    success, (code, error) = await client.try_remote_call("anything")
    assert (success, code, type(error)) == (False, 1, ConnectionLostError)
    await soon(client.connect())
    await soon(client.close())
    with pytest.raises(ConnectionLostError, match="closed") as late:
        await client.remote_call("anything")
    assert late.value.executed is False
    await soon(client.connect())
    assert client.state is ConnectionState.READY
    await soon(client.close())


async def test_a_server_before_connect_and_after_close(stage: Stage) -> None:
    server = RMQServer(url=stage.url)
    server.add_service(_answer)
    with pytest.raises(ConnectionLostError, match="connect"):
        await server.run_serve()
    await soon(server.close())
    with pytest.raises(ConnectionLostError):
        await server.run_serve()
    await soon(server.connect())
    assert [service.name for service in server.services] == ["_answer"]
    await soon(server.close())


async def test_closing_what_was_never_connected(stage: Stage) -> None:
    for cls in (RMQBase, RMQClient, RMQServer):
        await soon(cls(url=stage.url).close())


async def test_all_are_context_managers(stage: Stage) -> None:
    for cls in (RMQBase, RMQClient, RMQServer):
        made = cls(url=stage.url)
        states = [made.state]
        async with made as entered:
            assert entered is made
            states.append(made.state)
        states.append(made.state)
        assert states == [ConnectionState.IDLE, ConnectionState.READY, ConnectionState.CLOSED]


async def test_an_error_in_the_block_closes_and_goes_on(stage: Stage) -> None:
    async def block() -> None:
        async with client:
            raise KeyError("mine")

    client = RMQClient(url=stage.url)
    with pytest.raises(KeyError, match="mine"):
        await soon(block())
    assert client.state is ConnectionState.CLOSED


async def test_closing_a_client_ends_its_calls(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await gate.holds(1)
    await soon(client.close())
    with pytest.raises(ConnectionLostError) as lost:
        await soon(call)
    assert lost.value.executed is None
    assert client.pending == 0
    gate.opened.set()


async def test_closing_a_server_lets_the_calls_in_flight_finish(stage: Stage) -> None:
    gate = Gate()
    function = gate.function()
    name = stage.register(function, fetch_size=2)
    server = await stage.server(function)
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(2)]
    await gate.holds(2)
    closing = asyncio.create_task(server.close())
    gate.opened.set()
    assert await soon(asyncio.gather(*calls)) == [0, 1]
    await soon(closing)


async def test_stop_ends_run_serve_and_the_queue_keeps_what_comes_later(stage: Stage) -> None:
    answer = _fresh()
    name = stage.register(answer)
    server = await stage.server(answer, start=False)
    serving = stage.start(server)
    client = await stage.client()
    assert await soon(client.remote_call(name)) == "answer"
    server.stop()
    server.stop()
    await soon(serving)
    call = asyncio.create_task(client.remote_call(name))
    await stage.server(answer)
    assert await soon(call) == "answer"


async def test_cancelling_run_serve_and_closing(stage: Stage) -> None:
    answer = _fresh()
    name = stage.register(answer)
    server = RMQServer(url=stage.url)
    server.load_services({"answer": answer})
    async with server:
        serving = asyncio.create_task(server.run_serve())
        assert await soon((await stage.client()).remote_call(name)) == "answer"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(serving)


async def test_another_event_loop(stage: Stage) -> None:
    other = asyncio.new_event_loop()
    try:
        for cls in (RMQBase, RMQClient, RMQServer):
            made = cls(other, url=stage.url)
            with pytest.raises(ConfigurationError, match="loop="):
                await made.connect()
            assert made.state is ConnectionState.IDLE
            await made.close()
    finally:
        other.close()
    async with RMQClient(asyncio.get_running_loop(), url=stage.url) as client:
        assert client.state is ConnectionState.READY


async def test_nothing_to_serve(stage: Stage) -> None:
    server = await stage.server(start=False)
    with pytest.raises(ConfigurationError, match="load_services"):
        await server.run_serve()
    with pytest.raises(ConfigurationError, match="load_plugins"):
        await server.run_serve(reload=True)


@pytest.mark.parametrize("cls", [RMQClient, RMQServer, RMQBase])
async def test_one_that_is_dropped_open_warns(stage: Stage, cls: type[RMQBase]) -> None:
    dropped = cls(url=stage.url)
    await soon(dropped.connect())
    transport: Any = dropped._transport
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del dropped
        gc.collect()
    await soon(transport.close())
    (warning,) = [one for one in caught if cls.__name__ in str(one.message)]
    assert issubclass(warning.category, ResourceWarning)
    assert "never closed" in str(warning.message)


async def test_one_that_is_closed_does_not_warn(stage: Stage) -> None:
    made: list[RMQBase] = [RMQClient(url=stage.url), RMQServer(url=stage.url), RMQBase(url=stage.url)]
    await soon(asyncio.gather(*(one.connect() for one in made)))
    await soon(asyncio.gather(*(one.close() for one in made)))
    never = RMQClient(url=stage.url)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made.clear()
        del never
        gc.collect()
    assert [str(warning.message) for warning in caught if "RMQ" in str(warning.message)] == []


async def test_what_went_wrong_last(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.1")
    for cls in (RMQBase, RMQClient, RMQServer):
        nowhere = cls(url="amqp://guest:guest@127.0.0.1:1/")
        assert nowhere.last_error is None
        with pytest.raises(ConnectionLostError):
            await soon(nowhere.connect())
        assert isinstance(nowhere.last_error, ConnectionLostError)
        await soon(nowhere.close())
    monkeypatch.delenv("RABIBRIDGE_CONNECT_TIMEOUT")
    client = await stage.client()
    assert (client.state, client.last_error) == (rabibridge.ConnectionState.READY, None)


async def test_a_server_that_leaves_signals_to_others(stage: Stage) -> None:
    answer = _fresh()
    name = stage.register(answer)
    server = await stage.server(answer, start=False)
    before = signal.getsignal(signal.SIGTERM)
    serving = asyncio.create_task(server.run_serve(signals=False))
    client = await stage.client()
    assert await soon(client.remote_call(name)) == "answer"
    assert signal.getsignal(signal.SIGTERM) is before
    server.stop()
    await soon(serving)


async def test_a_service_added_to_a_running_server(stage: Stage) -> None:
    first, second = _fresh(), _fresh()
    first_name, second_name = stage.register(first), stage.register(second)
    server = await stage.server(first)
    client = await stage.client()
    assert await soon(client.remote_call(first_name)) == "answer"
    schema = server.add_service(second, queue_size=9, fetch_size=2, timeout=30)
    assert isinstance(schema, ServiceSchema)
    assert (schema.name, schema.func_ptr, schema.is_async) == (second_name, second, True)
    assert (schema.queue_size, schema.fetch_size, schema.timeout, schema.re_register) == (9, 2, 30, False)
    assert schema in server.services
    await until_call_gives(client, second_name, "answer")  # it starts in the background


async def test_a_service_added_between_connect_and_run_serve(stage: Stage) -> None:
    answer = _fresh()
    server = await stage.server(start=False)
    name = stage.register(answer)
    server.add_service(answer)
    stage.start(server)
    client = await stage.client()
    await until_call_gives(client, name, "answer")


def _fresh() -> Any:
    async def answer() -> str:
        return "answer"

    return answer

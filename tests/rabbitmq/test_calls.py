"""What comes back from a call: results, of every shape and size."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    ConfigurationError,
    ContentRejectedError,
    NoRouteError,
    RemoteExecutionError,
    RMQServer,
    register_call,
)
from tests.rabbitmq.support import Gate
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rabbitmq.support import Stage

MIB = 2**20


async def test_the_quick_start(vhost_url: str, unique_name: Callable[[str], str]) -> None:
    name = unique_name("fibonacci")

    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    fibonacci.__name__ = name
    server = RMQServer(url=vhost_url)
    server.load_services({"fibonacci": register_call(queue_size=10, fetch_size=2, timeout=60)(fibonacci)})
    from rabibridge import RMQClient

    async with server, RMQClient(url=vhost_url) as client:
        serving = asyncio.create_task(server.run_serve())
        assert await soon(client.remote_call(name, (10,), ftype="sync", timeout=PATIENCE)) == 55
        server.stop()
        await soon(serving)


async def test_async_sync_and_any(stage: Stage) -> None:
    @register_call
    async def spoken() -> str:
        return "async"

    @register_call()
    def threaded() -> str:
        return "sync"

    one, other = stage.register(spoken), stage.register(threaded)
    await stage.server(spoken, threaded)
    client = await stage.client()
    assert await soon(client.remote_call(one)) == "async"
    assert await soon(client.remote_call(one, ftype="async")) == "async"
    assert await soon(client.remote_call(one, ftype="any")) == "async"
    assert await soon(client.remote_call(other, (), {}, "sync")) == "sync"
    assert await soon(client.remote_call(other, ftype="any")) == "sync"
    with pytest.raises(NoRouteError):
        await soon(client.remote_call(one, ftype="sync"))
    with pytest.raises(NoRouteError):
        await soon(client.remote_call(other))
    with pytest.raises(ConfigurationError, match="'async', 'sync', or 'any'"):
        await client.remote_call(one, ftype="both")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("decorate", [register_call, register_call()], ids=["bare", "called"])
async def test_a_decorated_function_stays_itself(stage: Stage, decorate: Callable[[Any], Any]) -> None:
    async def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    double.__name__ = name = stage.register(double)
    decorated = decorate(double)
    assert decorated is double
    assert decorated.__doc__ == "Return twice the number."
    assert await decorated(2) == 4
    await stage.server(decorated)
    client = await stage.client()
    assert await soon(client.remote_call(name, (21,))) == 42


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        "",
        "grüße 🐇",
        b"",
        bytes(range(256)),
        [],
        {},
        {"a": [None, {"b": b"c"}]},
    ],
    ids=repr,
)
async def test_values_come_back_as_they_went(stage: Stage, value: object) -> None:
    async def echo(value: object) -> object:
        return value

    name = await stage.serve(echo)
    client = await stage.client()
    answer = await soon(client.remote_call(name, (value,)))
    assert answer == value
    assert type(answer) is type(value)


@pytest.mark.parametrize(
    "payload",
    [b"x" * (6 * MIB), os.urandom(6 * MIB), os.urandom(1024), b"x" * 1025, os.urandom(131_072 - 8)],
    ids=["6 MiB compressible", "6 MiB incompressible", "at the threshold", "above it", "one frame"],
)
async def test_payloads_of_any_size(stage: Stage, payload: bytes) -> None:
    async def echo(value: bytes) -> bytes:
        return value

    name = await stage.serve(echo)
    client = await stage.client()
    assert await soon(client.remote_call(name, (payload,))) == payload


async def test_many_large_calls_at_once(stage: Stage) -> None:
    async def echo(value: bytes) -> bytes:
        return value

    name = await stage.serve(echo)
    client = await stage.client()
    payloads = [os.urandom(300_000) for _ in range(40)]
    assert await soon(asyncio.gather(*(client.remote_call(name, (payload,)) for payload in payloads))) == payloads


async def test_arguments_that_are_too_large_are_not_sent(stage: Stage) -> None:
    async def echo(value: bytes) -> bytes:
        return value

    name = await stage.serve(echo)
    client = await stage.client()
    with pytest.raises(ContentRejectedError, match="max_body"):
        await soon(client.remote_call(name, (os.urandom(9 * MIB),)))
    assert client.pending == 0
    assert await soon(client.remote_call(name, (b"small",))) == b"small"


async def test_the_three_forms_of_try_remote_call(stage: Stage) -> None:
    async def divide(left: int, right: int) -> float:
        return left / right

    name = await stage.serve(divide)
    client = await stage.client()
    assert await soon(client.try_remote_call(name, (1, 2))) == (True, (0, 0.5))

    success, (code, error) = await soon(client.try_remote_call(name, (1, 0)))
    assert (success, code) == (True, 1)
    assert isinstance(error, RemoteExecutionError)
    assert error.error_type == "builtins.ZeroDivisionError"

    success, (code, error) = await soon(client.try_remote_call(f"{name}_not_there", (1, 0)))
    assert (success, code) == (False, 1)
    assert isinstance(error, NoRouteError)


async def test_try_remote_call_tells_of_a_timeout_and_does_not_swallow_a_cancellation(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    success, (code, error) = await soon(client.try_remote_call(name, timeout=0.2))
    assert (success, code) == (False, 1)
    assert isinstance(error, CallTimeoutError)
    while not gate.started.empty():
        gate.started.get_nowait()
    call = asyncio.create_task(client.try_remote_call(name))
    await gate.holds(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.opened.set()


async def test_the_correlation_id_is_another_each_time(stage: Stage) -> None:
    client = await stage.client()
    ids = {client.correlation_id for _ in range(100)}
    assert len(ids) == 100
    assert all(isinstance(one, str) for one in ids)


async def test_calls_at_once_get_their_own_results(stage: Stage) -> None:
    async def late(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 7))
        return number

    name = await stage.serve(late)
    client, other = await stage.client(), await stage.client()
    calls = [one.remote_call(name, (number,)) for number in range(500) for one in (client, other)]
    assert await soon(asyncio.gather(*calls)) == [number for number in range(500) for _ in range(2)]
    assert client.pending == other.pending == 0


async def test_sync_functions_run_beside_the_loop_as_many_as_fetch_size(stage: Stage) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)
    threads: set[int] = set()

    def meet(_: int) -> int:
        threads.add(threading.get_ident())
        return together.wait()  # only where three of them run at the same time does any of them end

    name = await stage.serve(meet, fetch_size=3)
    client = await stage.client()
    calls = [client.remote_call(name, (number,), ftype="sync") for number in range(6)]
    assert sorted(await soon(asyncio.gather(*calls))) == [0, 0, 1, 1, 2, 2]
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_a_slow_sync_service_does_not_hold_up_another(stage: Stage) -> None:
    release = threading.Event()

    def slow() -> bool:
        return release.wait(PATIENCE)

    def quick() -> str:
        return "done"

    slow_name, quick_name = stage.register(slow, fetch_size=40), stage.register(quick)
    await stage.server(slow, quick)
    client = await stage.client()
    held = [asyncio.create_task(client.remote_call(slow_name, ftype="sync")) for _ in range(40)]
    assert await soon(client.remote_call(quick_name, ftype="sync")) == "done"
    release.set()
    assert all(await soon(asyncio.gather(*held)))


async def test_a_call_in_a_call(stage: Stage) -> None:
    client = await stage.client()

    async def inner(number: int) -> int:
        return 2 * number

    inner_name = stage.register(inner)

    async def outer(number: int) -> Any:
        return await client.remote_call(inner_name, (number,), timeout=PATIENCE)

    outer_name = stage.register(outer)
    await stage.server(inner, outer)
    assert await soon(client.remote_call(outer_name, (21,))) == 42

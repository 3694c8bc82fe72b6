"""The clock of the fake broker beside what has another one: threads, sockets, processes, other loops, libraries."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
import time_machine
from fastapi import FastAPI
from fastapi.testclient import TestClient
from freezegun import freeze_time

from rabibridge import CallTimeoutError, RMQClient, RMQServer, current_call, sync
from rabibridge_testing import fake_broker_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")
auto_advance = pytest.mark.fake_broker(auto_advance=True)
REAL = 0.2


def blocking(seconds: float) -> float:
    """Serve in a thread, for real seconds."""
    time.sleep(seconds)
    return seconds


@auto_advance
async def test_functions_in_threads_take_the_time_that_they_take(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(blocking)
    async with RMQClient() as client:
        began = time.monotonic()
        assert await client.options(timeout=60).call("blocking", REAL) == REAL
        assert time.monotonic() - began >= REAL
    assert REAL / 2 <= fake_broker.clock.seconds < 60


async def test_advancing_waits_for_threads(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(blocking)
    async with RMQClient() as client:
        call = asyncio.ensure_future(client.options(timeout=60).call("blocking", REAL))
        await fake_broker.clock.advance(3000)
        assert call.result() == REAL
    assert fake_broker.clock.seconds == pytest.approx(3000)


@auto_advance
async def test_threads_of_the_loop_and_names(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", returns=1)
    async with RMQClient() as client:
        async with asyncio.timeout(60):
            await asyncio.to_thread(time.sleep, REAL)
        async with asyncio.timeout(60):
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
        with fake_broker.clock.real_time():  # a thread that asyncio does not know
            async with asyncio.timeout(60):
                await anyio.to_thread.run_sync(time.sleep, REAL)
        assert await client.call("work") == 1
    assert REAL <= fake_broker.clock.seconds < 180  # it stands still while the loop works: that is not counted


@auto_advance
async def test_an_open_socket_lets_time_pass_as_outside(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", raises=CallTimeoutError)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    async with RMQClient() as client:
        timer = threading.Timer(REAL, theirs.sendall, [b"late"])
        timer.start()
        async with asyncio.timeout(60):
            assert await reader.read(4) == b"late"
        timer.join()
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=REAL).call("work")
        assert fake_broker.clock.seconds >= 1.9 * REAL
        with pytest.raises(RuntimeError, match="waits for a socket"):
            await fake_broker.clock.advance(30)
        writer.close()
        await writer.wait_closed()
        theirs.close()
        await fake_broker.clock.advance(30)
        assert fake_broker.clock.seconds < 60


@auto_advance
async def test_a_process_lets_time_pass_as_outside(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", returns=1)
    async with RMQClient() as client:
        assert await client.call("work") == 1
        async with asyncio.timeout(300):
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
            assert (await process.communicate())[0].strip() == b"1"
        assert 0 < fake_broker.clock.seconds < 300


async def test_clients_on_other_loops(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", returns=1)
    async with RMQClient() as client:
        other = await asyncio.to_thread(sync.Client().connect)
        assert await asyncio.to_thread(other.call, "work") == 1
        with pytest.raises(RuntimeError, match="connected on another event loop"):
            await fake_broker.clock.advance(30)
        fake_broker.clock.auto_advance()
        assert await client.call("work") == 1
        began = time.monotonic()
        await asyncio.sleep(REAL)
        assert time.monotonic() - began >= REAL
        await asyncio.to_thread(other.close)
        await fake_broker.clock.advance(30)


def test_an_application_in_a_thread() -> None:
    """FastAPI's TestClient has an event loop of its own, and its application may advance the clock there."""

    async def connected(app: FastAPI) -> AsyncIterator[None]:
        async with RMQClient() as app.state.client:
            yield

    with fake_broker_context(auto_advance=True) as broker:
        broker.stub("work", raises=CallTimeoutError)
        from contextlib import asynccontextmanager

        app = FastAPI(lifespan=asynccontextmanager(connected))

        @app.get("/")
        async def ask() -> str:
            try:
                await app.state.client.options(timeout=3000).call("work")
            except CallTimeoutError:
                return "late"
            return ""

        with TestClient(app) as web:
            assert web.get("/").json() == "late"


def left(seconds: float) -> tuple[float, float | None]:
    """Tell what time is left to the call in the thread where it runs."""
    return seconds, current_call().time_left


async def left_elsewhere(seconds: float) -> tuple[float, float | None]:
    """Tell what time is left to the call in a thread that it takes itself."""
    return await asyncio.to_thread(left, seconds)


async def _served_in_threads(*functions: Any) -> None:
    url = f"memory://{token_hex(4)}"
    server = RMQServer(url=url)
    for function in functions:
        server.add_service(function)
    async with server.serving(), RMQClient(url=url) as client:
        for function in functions:
            _, seconds = await client.options(timeout=60).call(function, 0.0)
            assert 0 < seconds <= 60


def test_threads_have_the_time_of_the_loop_that_they_work_for() -> None:
    """A loop stays ahead for as long as it exists: nothing of that is seen in threads that work for another one."""
    with asyncio.Runner() as ahead:
        with fake_broker_context() as broker:
            ahead.run(broker.clock.advance(1e6))
            asyncio.run(_served_in_threads(left))
            ahead.run(_served_in_threads(left, left_elsewhere))
        asyncio.run(_served_in_threads(left, left_elsewhere))
        ahead.run(_served_in_threads(left, left_elsewhere))
        with fake_broker_context() as broker:
            ahead.run(broker.clock.advance(1e6))
            ahead.run(_served_in_threads(left, left_elsewhere))


async def _one_call(broker: Any, timeout: float = 60.0) -> Any:
    async def work(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    server = RMQServer()
    server.add_service(work)
    async with server.serving(), RMQClient() as client:
        assert await client.options(timeout=timeout).call("work", 0.01) == 0.01
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=0.05).call("work", 5.0)
    return broker


async def test_frozen_wall_clocks(fake_broker: FakeBroker) -> None:
    for tick in (False, True):
        with freeze_time("2001-01-01", tick=tick, real_asyncio=True):
            await _one_call(fake_broker)
        with time_machine.travel("2001-01-01", tick=tick):
            await _one_call(fake_broker)


async def test_wall_clocks_that_jump_within_a_call(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", returns=1)
    async with RMQClient() as client:
        with freeze_time("2001-01-01", real_asyncio=True) as frozen, fake_broker.delay(0.05, "work"):
            call = asyncio.ensure_future(client.options(timeout=60).call("work"))
            await fake_broker.wait_for_call("work")
            frozen.tick(1e6)
            assert await call == 1
        with time_machine.travel("2001-01-01") as traveller, fake_broker.delay(0.05, "work"):
            call = asyncio.ensure_future(client.options(timeout=60).call("work"))
            await fake_broker.wait_for_call("work", count=2)
            traveller.shift(1e6)
            assert await call == 1


async def test_a_frozen_loop_is_told(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", returns=1)
    async with RMQClient() as client:
        assert await client.call("work") == 1
        with freeze_time("2001-01-01"):
            with pytest.warns(RuntimeWarning, match="the clock of the event loop stands still"):
                assert await client.call("work") == 1
            assert await client.call("work") == 1  # told once


@auto_advance
async def test_the_clock_moves_a_frozen_loop(fake_broker: FakeBroker) -> None:
    async with RMQClient() as client:
        with freeze_time("2001-01-01"):
            fake_broker.stub("work", raises=CallTimeoutError)
            with pytest.raises(CallTimeoutError):
                await client.options(timeout=3000).call("work")
    assert fake_broker.clock.seconds == pytest.approx(3000)

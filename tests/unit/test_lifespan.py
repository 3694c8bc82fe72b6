"""The lifespan of a server, and providers that live as long as the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import ConfigurationError, Depends
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.rpc import RpcServer

from tests.unit.lifespan_support import Cache, Pool, events, lifespan, make, use


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


async def test_it_surrounds_all_calls_and_what_it_yields_is_injected() -> None:
    server, client = make(use, lifespan=lifespan)
    async with client, server.serving():
        for number in (1, 2):
            result = await client.remote_call("use", (number,), timeout=PATIENCE)
            assert result == [number, "pool", "connections of pool", "Connection"]
    assert events == [
        "enter lifespan", "enter connections", "enter index", "call", "call",
        "leave index", "leave connections", "leave lifespan",
    ]  # fmt: skip


async def test_it_is_left_after_the_last_call() -> None:
    began = asyncio.Event()

    async def slow(pool: Pool = Depends()) -> str:
        began.set()
        await asyncio.sleep(0.2)
        events.append("answered")
        return pool.name

    server, client = make(slow, lifespan=lifespan)
    async with client:
        async with server.serving():
            call = asyncio.create_task(client.remote_call("slow", timeout=PATIENCE))
            await soon(began.wait())
        assert await call == "pool"
    assert events == ["enter lifespan", "answered", "leave lifespan"]


async def test_a_generator_function_and_several_values_will_do() -> None:
    async def plain(server: RpcServer) -> AsyncIterator[tuple[Pool, Cache]]:
        yield Pool("one"), Cache()

    async def both(cache: Cache = Depends(), pool: Pool = Depends()) -> list[str]:
        return [type(cache).__name__, pool.name]

    server, client = make(both, lifespan=plain)
    async with server.serving(), client:
        assert await client.remote_call("both", timeout=PATIENCE) == ["Cache", "one"]


async def test_what_it_does_not_yield_is_an_error_at_the_start() -> None:
    async def both(cache: Cache = Depends()) -> None:
        pass

    server, _ = make(both, lifespan=lifespan)
    with pytest.raises(ConfigurationError, match=r"argument 'cache' of .*both.* wants a Cache .* yields a Pool"):
        await server.serving().__aenter__()
    assert events == ["enter lifespan", "leave lifespan"]
    without, _ = make(both)
    with pytest.raises(ConfigurationError, match="yields nothing"):
        await without.serving().__aenter__()


async def test_two_values_of_one_type_are_an_error() -> None:
    async def two(server: RpcServer) -> AsyncIterator[tuple[Pool, Pool]]:
        yield Pool(), Pool()

    async def one(pool: Pool = Depends()) -> None:
        pass

    server, _ = make(one, lifespan=two)
    with pytest.raises(ConfigurationError, match="2 things are of that type"):
        await server.serving().__aenter__()


async def test_an_error_before_the_first_call_ends_serving() -> None:
    async def broken(server: RpcServer) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    server, _ = make(use, lifespan=broken)
    with pytest.raises(OSError, match="no database"):
        await server.serving().__aenter__()


async def test_an_error_after_the_last_call_is_raised() -> None:
    async def broken(server: RpcServer) -> AsyncIterator[None]:
        yield
        raise OSError("cannot flush")

    server, _ = make(lifespan=broken)
    with pytest.raises(OSError, match="cannot flush"):
        async with server.serving():
            pass


async def test_a_background_task_that_fails_ends_serving() -> None:
    fail = asyncio.Event()

    async def poll() -> None:
        await fail.wait()
        raise OSError("lost the feed")

    async def background(server: RpcServer) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(poll())
            yield
            task.cancel()

    async def body() -> None:
        async with server.serving():
            fail.set()
            await asyncio.sleep(PATIENCE)

    server, _ = make(lifespan=background)
    with pytest.raises(ExceptionGroup) as raised:
        await soon(body())
    assert isinstance(raised.value.exceptions[0], OSError)


@pytest.mark.parametrize("how", ["stop", "close", "cancel"])
async def test_a_start_that_takes_long_can_be_stopped(how: str) -> None:
    entering = asyncio.Event()

    async def slow(server: RpcServer) -> AsyncIterator[None]:
        entering.set()
        try:
            await asyncio.sleep(10 * PATIENCE)
            yield
        finally:
            events.append("gave up")

    server, _ = make(use, lifespan=slow)
    async with server:
        running = asyncio.create_task(server.run_serve(signals=False))
        await soon(entering.wait())
        if how == "stop":
            server.stop()
        elif how == "close":
            await soon(server.close())
        else:
            running.cancel()
        await soon(asyncio.wait((running,)))
        assert running.cancelled() == (how == "cancel")
    assert events == ["gave up"]


async def test_an_end_that_takes_long_is_cancelled_by_a_second_stop() -> None:
    leaving = asyncio.Event()

    async def slow(server: RpcServer) -> AsyncIterator[None]:
        yield
        leaving.set()
        await asyncio.sleep(10 * PATIENCE)

    server, _ = make(lifespan=slow)
    async with server:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: bool(server.health()))
        server.stop()
        await soon(leaving.wait())
        server.stop()
        await soon(running)


async def test_more_stops_at_once_change_nothing() -> None:
    began = asyncio.Event()

    async def slow(server: RpcServer) -> AsyncIterator[None]:
        yield
        events.append("leaving")
        await asyncio.Event().wait()

    async def held() -> None:
        began.set()
        await asyncio.Event().wait()

    server, client = make(held, lifespan=slow)
    async with server, client:
        serving = asyncio.create_task(server.run_serve(signals=False))
        call = asyncio.create_task(client.remote_call("held", timeout=PATIENCE))
        await soon(began.wait())
        for _ in range(20):  # each step of the event loop in which the wait for the call ends sees one
            server.stop()
            await asyncio.sleep(0)
        await until(lambda: events == ["leaving"])
        for _ in range(20):
            server.stop()
            await asyncio.sleep(0)
        await soon(serving)
        call.cancel()


async def test_a_service_that_is_added_later_gets_its_providers_first() -> None:
    server, client = make(lifespan=lifespan)
    async with client:
        async with server.serving():
            assert events == ["enter lifespan"]
            server.add_service(use)
            await soon(server.wait_serving("use"))
            assert events == ["enter lifespan", "enter connections", "enter index"]
            await client.remote_call("use", (1,), timeout=PATIENCE)
            await server.remove_service("use")
        assert events[-3:] == ["leave index", "leave connections", "leave lifespan"]


async def test_a_provider_that_fails_is_an_error_of_its_service() -> None:
    async def broken() -> Pool:
        raise OSError("no database")

    async def needs(pool: Pool = Depends(broken, scope="process")) -> None:
        pass

    server, _ = make(needs)
    with pytest.raises(ConfigurationError, match=r"provider .*broken.* failed: OSError: no database") as raised:
        await server.serving().__aenter__()
    assert isinstance(raised.value.__cause__, OSError)
    server, _ = make()
    async with server.serving():
        server.add_service(needs)
        with pytest.raises(ConfigurationError, match="no database"):
            await soon(server.wait_serving("needs"))
        assert not server.health()
        await server.remove_service("needs")
        assert server.health()


async def test_it_is_entered_anew_when_the_server_serves_again() -> None:
    server, client = make(use, lifespan=lifespan)
    async with server, client:
        for _ in range(2):
            events.clear()
            async with server.serving():
                assert (await client.remote_call("use", (1,), timeout=PATIENCE))[1] == "pool"
            assert (events[0], events[-1]) == ("enter lifespan", "leave lifespan")


def test_what_is_no_lifespan_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="lifespan= is 7"):
        make(lifespan=7)


async def test_what_returns_no_context_manager_is_refused() -> None:
    server, _ = make(use, lifespan=lambda server: 7)
    with pytest.raises(ConfigurationError, match="it must return an async context manager"):
        await server.serving().__aenter__()

"""Providers that live as long as a call: made before the function, cleaned up before the reply, whatever happens."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from rabibridge_core import Depends, InvalidArgumentsError, RemoteExecutionError, current_call
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

from tests.unit.provider_support import coroutine, events, plain, served, setting, synchronous


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


class Settings:
    """A class is a provider, too."""

    name = "settings"


async def in_task(
    number: int,
    a: str = Depends(coroutine),
    b: str = Depends(plain),
    *,
    c: Annotated[Settings, Depends(Settings)],
) -> list[Any]:
    events.append(f"run with {setting.get()}")
    if number == 0:
        raise ZeroDivisionError
    return [number, a, b, c.name]


def in_thread(
    number: int,
    a: str = Depends(coroutine),
    b: str = Depends(plain),
    *,
    c: Annotated[Settings, Depends(Settings)],
) -> list[Any]:
    events.append(f"run with {setting.get()}")
    if number == 0:
        raise ZeroDivisionError
    return [number, a, b, c.name]


@pytest.mark.parametrize("function", [in_task, in_thread])
async def test_values_are_made_in_order_and_cleaned_up_in_reverse(function: Callable[..., Any]) -> None:
    async with served(function) as (_, client):
        name = function.__name__
        result = await client.remote_call(name, (1,), ftype="any", timeout=PATIENCE)
        assert result == [1, "coroutine of async", "plain of sync", "settings"]
        assert events == ["enter async", "enter sync", "run with set", "leave sync", "leave async"]
        events.clear()
        with pytest.raises(RemoteExecutionError, match="ZeroDivisionError"):
            await client.remote_call(name, (0,), ftype="any", timeout=PATIENCE)
        assert events[3:] == [
            "sync sees ZeroDivisionError", "leave sync", "async sees ZeroDivisionError", "leave async",
        ]  # fmt: skip


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("function", [in_task, in_thread])
async def test_callers_cannot_give_what_the_server_fills_in(function: Callable[..., Any], validate: bool) -> None:
    async with served(function, validate=validate) as (_, client):
        for args, kwargs in (
            ((1,), {"a": "evil"}), ((1,), {"c": None}), ((1, "evil"), {}), ((), {}), ((1,), {"unknown": 1}),
        ):  # fmt: skip
            with pytest.raises(InvalidArgumentsError):
                await client.remote_call(function.__name__, args, kwargs, ftype="any", timeout=PATIENCE)
        assert events == []  # nothing is made for a call that is refused
        assert (await client.remote_call(function.__name__, (), {"number": 2}, ftype="any", timeout=PATIENCE))[0] == 2


async def test_arguments_are_validated_beside_providers() -> None:
    async def scale(number: int, *, factor: int = 2, by: str = Depends(coroutine)) -> list[Any]:
        return [number * factor, by]

    async with served(scale, validate=True) as (_, client):
        assert await client.remote_call("scale", ("4",), {"factor": "3"}, ftype="any", timeout=PATIENCE) == [
            12,
            "coroutine of async",
        ]
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("scale", ("four",), ftype="any", timeout=PATIENCE)


async def test_keywords_of_a_function_that_takes_any_do_not_reach_providers() -> None:
    async def anything(*args: int, db: str = Depends(coroutine), **kwargs: int) -> list[Any]:
        return [args, kwargs, db]

    async with served(anything) as (_, client):
        result = await client.remote_call("anything", (1, 2), {"x": 3}, ftype="any", timeout=PATIENCE)
        assert result == [[1, 2], {"x": 3}, "coroutine of async"]
        with pytest.raises(InvalidArgumentsError, match="'db'"):
            await client.remote_call("anything", (1, 2), {"db": 3}, ftype="any", timeout=PATIENCE)


async def test_the_same_provider_is_made_once_for_a_call_or_once_for_each_parameter() -> None:
    async def number(step: int) -> AsyncIterator[int]:
        events.append(f"number {step}")
        yield step

    one, two = partial(number, 1), partial(number, 2)

    async def shared(a: int = Depends(one), b: int = Depends(one), c: int = Depends(two)) -> list[int]:
        return [a, b, c]

    async def apart(a: int = Depends(one), b: int = Depends(one, use_cache=False)) -> list[int]:
        return [a, b]

    async with served(shared, apart) as (_, client):
        assert await client.remote_call("shared", ftype="any", timeout=PATIENCE) == [1, 1, 2]
        assert events == ["number 1", "number 2"]
        events.clear()
        assert await client.remote_call("apart", ftype="any", timeout=PATIENCE) == [1, 1]
        assert events == ["number 1", "number 1"]


async def test_what_belongs_to_a_thread_stays_in_it() -> None:
    def database() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(":memory:")  # usable in this thread alone
        try:
            yield connection
        finally:
            connection.close()

    def select(number: int, db: sqlite3.Connection = Depends(database)) -> int:
        found: int = db.execute("select ? + 1", (number,)).fetchone()[0]
        return found

    async with served(select, fetch_size=4) as (_, client):
        calls = [client.remote_call("select", (number,), ftype="any", timeout=PATIENCE) for number in range(40)]
        assert await asyncio.gather(*calls) == list(range(1, 41))


async def test_providers_know_the_call() -> None:
    def tenant() -> str:
        return str(current_call().headers["tenant"])

    async def deadline() -> bool:
        return current_call().time_left is not None

    async def which(tenant: str = Depends(tenant), limited: bool = Depends(deadline)) -> list[Any]:
        return [tenant, limited, current_call().service]

    async with served(which) as (_, client):
        result = await client.remote_call("which", ftype="any", timeout=PATIENCE, headers={"tenant": "7"})
        assert result == ["7", True, "which"]


async def test_methods_and_decorated_functions_have_providers() -> None:
    class Maths:
        def factor(self) -> int:
            return 3

        async def scale(self, number: int, by: int = Depends(partial(int, 3))) -> int:
            return number * by

    maths = Maths()

    async def scaled(number: int, by: int = Depends(maths.factor)) -> int:
        return number * by

    async with served(maths.scale, scaled) as (_, client):
        assert await client.remote_call("scale", (2,), ftype="any", timeout=PATIENCE) == 6
        assert await client.remote_call("scaled", (2,), ftype="any", timeout=PATIENCE) == 6


async def test_calls_in_flight_keep_their_providers_when_the_service_is_changed() -> None:
    go_on = asyncio.Event()

    async def wait(value: str = Depends(synchronous)) -> str:
        events.append("runs")
        await go_on.wait()
        return value

    async with served(wait) as (server, client):
        call = asyncio.create_task(client.remote_call("wait", ftype="any", timeout=PATIENCE))
        await until(lambda: "runs" in events)
        await server.update_service("wait", idempotent=True)
        await server.update_service("wait", fetch_size=3)
        go_on.set()
        assert await soon(call) == "sync"
        assert events[-1] == "leave sync"
        assert await client.remote_call("wait", ftype="any", timeout=PATIENCE) == "sync"

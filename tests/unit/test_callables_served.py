"""Partials, methods, callable objects and functions with several names, called by a client."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import register_call
from rabibridge_core.errors import RegistrationError, RemoteExecutionError
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


@register_call(name="v1.add", fetch_size=3)
@register_call(name="v2.add")
async def add(first: int, second: int) -> int:
    return first + second


def scaled(factor: int, value: int) -> int:
    return factor * value


class Account:
    def __init__(self, balance: int) -> None:
        self._balance = balance

    @register_call
    async def balance(self) -> int:
        return self._balance

    @register_call
    @staticmethod
    def currency() -> str:
        return "EUR"

    async def __call__(self, amount: int) -> int:
        self._balance += amount
        return self._balance


async def test_they_are_served_by_their_names(fake_broker: FakeBroker) -> None:
    server, account = RpcServer(), Account(5)
    server.load_services({"add": add, "currency": Account.currency})
    server.add_service(functools.partial(scaled, 10), name="tenfold")
    server.add_service(functools.partial(add, 1), name="next")
    server.add_service(scaled, name="scale")
    server.add_service(scaled)
    server.add_service(account.balance)
    server.add_service(Account(7).balance, name="other.balance")
    server.add_service(account, name="deposit")
    assert {schema.name: schema.fetch_size for schema in server.services if "add" in schema.name} == {
        "v1.add": 3,
        "v2.add": None,
    }
    async with server, RpcClient() as client:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: bool(server.health()))
        calls: list[tuple[str, tuple[int, ...], object]] = [
            ("v1.add", (1, 2), 3), ("v2.add", (1, 2), 3), ("next", (2,), 3), ("tenfold", (4,), 40),
            ("scale", (2, 3), 6), ("scaled", (2, 4), 8), ("deposit", (2,), 7), ("balance", (), 7),
            ("other.balance", (), 7), ("currency", (), "EUR"),
        ]  # fmt: skip
        for name, args, expected in calls:
            assert await soon(client.remote_call(name, args, ftype="any")) == expected
        server.stop()
        await soon(running)


def _timed(func: Any) -> Any:
    """What a decorator does that does not know of coroutine functions."""

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        return func(*args)

    return wrapper


async def test_a_plain_function_that_returns_what_has_yet_to_run(fake_broker: FakeBroker) -> None:
    async def one() -> int:
        raise AssertionError("it is not run")

    async def several() -> Any:
        yield 1

    def numbers() -> Any:
        yield 1

    server = RpcServer()
    for func in (one, several, numbers):
        server.add_service(_timed(func))
    async with server, RpcClient() as client:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: bool(server.health()))
        for name, says in (("one", "a coroutine.*async def"), ("several", "async generator"), ("numbers", "generator")):
            with pytest.raises(RemoteExecutionError, match=f"{name} .*{says}"):
                await soon(client.remote_call(name, ftype="sync"))
        server.stop()
        await soon(running)


def test_nothing_is_added_when_two_have_one_name(fake_broker: FakeBroker) -> None:
    @register_call(name="v2.add")
    async def clashes() -> None: ...

    @register_call
    async def fine() -> None: ...

    server = RpcServer()
    with pytest.raises(RegistrationError, match=r"v2\.add.*name="):
        server.load_services({"fine": fine, "add": add, "clashes": clashes})
    assert server.services == ()


async def test_the_broker_of_a_test_takes_names_too(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(functools.partial(scaled, 3), name="threefold")
    async with RpcClient() as client:
        assert await soon(client.remote_call("threefold", (2,), ftype="any")) == 6

"""Tests put other providers in the place of those of a program."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from rabibridge import RMQClient
from rabibridge_core import ConfigurationError, Depends, RegistrationError
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.rpc import RpcServer
    from rabibridge_testing import FakeBroker

from tests.unit.lifespan_support import Pool, connections, events, index, lifespan, make, use


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


async def test_tests_override_the_lifespan_and_providers() -> None:
    @asynccontextmanager
    async def fake_lifespan(server: RpcServer) -> AsyncIterator[Pool]:
        yield Pool("fake pool")

    server, client = make(use, lifespan=lifespan)
    with (
        server.override(lifespan, fake_lifespan),
        server.override(connections, lambda: "no connections"),
        server.override(index, lambda: None),
    ):
        async with server, client, server.serving():
            result = await client.remote_call("use", (1,), timeout=PATIENCE)
            assert result == [1, "fake pool", "no connections", "NoneType"]
            with pytest.raises(ConfigurationError, match=r"connections.* is in use: override it before"):
                server.override(connections, lambda: "").__enter__()
            with pytest.raises(ConfigurationError, match=r"lifespan.* is in use"):
                server.override(lifespan, fake_lifespan).__enter__()
    assert events == ["call"]
    assert server._overrides == {}


async def test_providers_of_calls_are_overridden_while_it_serves() -> None:
    async def user() -> str:
        return "from the database"

    async def who(name: str = Depends(user)) -> str:
        return name

    server, client = make(who)
    async with server.serving(), client:
        assert await client.remote_call("who", timeout=PATIENCE) == "from the database"
        with server.override(user, lambda: "outer"):
            with suppress(ZeroDivisionError), server.override(user, lambda: "inner"):
                assert await client.remote_call("who", timeout=PATIENCE) == "inner"
                raise ZeroDivisionError  # as a failing test does
            assert await client.remote_call("who", timeout=PATIENCE) == "outer"
        assert await client.remote_call("who", timeout=PATIENCE) == "from the database"
        with pytest.raises(RegistrationError, match="'name' of its provider"):
            server.override(user, lambda name: name).__enter__()


async def test_the_fake_broker_fills_in_providers_of_calls_and_refuses_others(fake_broker: FakeBroker) -> None:
    async def user() -> str:
        return "Ada"

    async def greet(greeting: str, name: str = Depends(user)) -> str:
        return f"{greeting}, {name}!"

    fake_broker.add_service(greet)
    async with RMQClient() as client:
        assert await client.remote_call("greet", ("Hello",), timeout=PATIENCE) == "Hello, Ada!"
    with pytest.raises(RegistrationError, match="'pool', 'shared', 'db' lives longer than a call"):
        fake_broker.add_service(use)

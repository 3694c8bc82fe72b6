"""Runs the conformance suite on the transport: ``python -m pytest`` in this folder."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from broker import Broker
from rabibridge_core.settings import load_settings
from rabibridge_testing.conformance import bind
from transport import SmallTransport


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def make_transport(broker: Broker) -> Callable[[], Awaitable[SmallTransport]]:
    async def make() -> SmallTransport:
        settings = replace(load_settings(url="memory://small"), connect_timeout=0.5)
        return SmallTransport(broker, settings, "small transport")

    return make


@pytest.fixture
def break_connection() -> Callable[[SmallTransport], Awaitable[None]]:
    async def cut(transport: SmallTransport) -> None:
        transport.abort()

    return cut


@pytest.fixture
def unreachable(broker: Broker) -> Callable[[SmallTransport], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def cut_off(transport: SmallTransport) -> AsyncGenerator[None]:
        broker.accepting = False
        transport.abort()
        yield
        broker.accepting = True

    return cut_off


@pytest.fixture
def delete_queue(broker: Broker) -> Callable[[str], Awaitable[None]]:
    async def delete(name: str) -> None:
        broker.delete(name)

    return delete


@pytest.fixture
def dead_letters(broker: Broker) -> Callable[[str], Awaitable[list[tuple[bytes, str]]]]:
    async def look(queue: str) -> list[tuple[bytes, str]]:
        return [(correlation_id, reason) for name, correlation_id, reason in broker.dead_letters if name == queue]

    return look


@pytest.fixture
def message_limit(broker: Broker) -> Callable[[int], Awaitable[None]]:
    async def limit(size: int) -> None:
        broker.max_size = size

    return limit


bind(globals(), without={"user_transport": "this broker knows no users"})

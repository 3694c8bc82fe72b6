from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from rabibridge_testing import MemoryBroker, MemoryTransport
from rabibridge_testing.conformance import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.transport import Transport


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def make_transport(broker: MemoryBroker) -> Callable[[], Awaitable[Transport]]:
    async def make() -> Transport:
        return broker.transport()

    return make


@pytest.fixture
def user_transport(broker: MemoryBroker) -> Callable[[str], Awaitable[Transport]]:
    async def make(user: str) -> Transport:
        return broker.transport(user=user)

    return make


@pytest.fixture
def break_connection() -> Callable[[Transport], Awaitable[None]]:
    async def cut(transport: Transport) -> None:
        assert isinstance(transport, MemoryTransport)
        transport.abort()

    return cut


@pytest.fixture
def unreachable(broker: MemoryBroker) -> Callable[[Transport], AbstractAsyncContextManager[object]]:
    @asynccontextmanager
    async def cut_off(transport: Transport) -> AsyncIterator[None]:
        assert isinstance(transport, MemoryTransport)
        broker.refuse_connections()
        transport.abort()
        yield
        broker.restore()

    return cut_off


@pytest.fixture
def delete_queue(broker: MemoryBroker) -> Callable[[str], Awaitable[None]]:
    async def delete(name: str) -> None:
        broker.delete_queue(name)

    return delete


@pytest.fixture
def dead_letters(broker: MemoryBroker) -> Callable[[str], Awaitable[list[tuple[bytes, str]]]]:
    async def look(queue: str) -> list[tuple[bytes, str]]:
        return [(one.request.correlation_id, one.reason) for one in broker.dead_letters if one.queue == queue]

    return look


@pytest.fixture
def message_limit(broker: MemoryBroker) -> Callable[[int], Awaitable[None]]:
    async def limit(size: int) -> None:
        broker.max_message_size = size

    return limit


bind(globals())

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.settings import load_settings
from rabibridge_redis._resp.wire import decode_request
from rabibridge_redis._session.session import Session
from rabibridge_redis._transport.transport import RedisTransport
from rabibridge_testing.conformance import bind
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.transport import Transport


@pytest.fixture
async def proxies() -> AsyncIterator[Proxies]:
    async with AsyncExitStack() as stack:
        yield Proxies(stack)


class Proxies(dict["Transport", Proxy]):
    """The proxy through which each transport reaches the server."""

    def __init__(self, stack: AsyncExitStack) -> None:
        super().__init__()
        self._stack = stack
        self.limit = 64 * 1024 * 1024

    async def open(self, url: str) -> Proxy:
        return await self._stack.enter_async_context(Proxy(url))


@pytest.fixture
def make_transport(redis_url: str, proxies: Proxies) -> Callable[[], Awaitable[Transport]]:
    async def make() -> Transport:
        proxy = await proxies.open(redis_url)
        settings = replace(load_settings(url=f"{proxy.url}?max_message_size={proxies.limit}"), connect_timeout=5.0)
        transport = RedisTransport(settings, "conformance")
        proxies[transport] = proxy
        return transport

    return make


@pytest.fixture
def break_connection(proxies: Proxies) -> Callable[[Transport], Awaitable[None]]:
    async def cut(transport: Transport) -> None:
        proxies[transport].cut()

    return cut


@pytest.fixture
def unreachable(proxies: Proxies) -> Callable[[Transport], AbstractAsyncContextManager[object]]:
    @asynccontextmanager
    async def cut_off(transport: Transport) -> AsyncIterator[None]:
        assert isinstance(transport, RedisTransport)
        proxies[transport].refusing = True
        proxies[transport].cut()
        transport.abort()
        connection = transport._connection
        patient, connection._connect_timeout = connection._connect_timeout, 0.5
        try:
            yield
        finally:
            connection._connect_timeout = patient
            proxies[transport].refusing = False

    return cut_off


@asynccontextmanager
async def session_to(url: str) -> AsyncIterator[Session]:
    settings = load_settings(url=url)
    session = Session(settings.endpoints[0], settings, "test")
    await session.open()
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture
def delete_queue(redis_url: str) -> Callable[[str], Awaitable[None]]:
    async def delete(name: str) -> None:
        async with session_to(redis_url) as session:
            await session.ask("delete", name, "0")

    return delete


@pytest.fixture
def dead_letters(redis_url: str) -> Callable[[str], Awaitable[list[tuple[bytes, str]]]]:
    async def read(queue: str) -> list[tuple[bytes, str]]:
        async with session_to(redis_url) as session:
            letters = await session.commands.ask("XRANGE", session.prefix + "dead", "-", "+")
        found = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in letters]
        return [
            (decode_request(letter[b"m"]).correlation_id, letter[b"r"].decode())
            for letter in found
            if letter[b"q"].decode() == queue
        ]

    return read


@pytest.fixture
def message_limit(proxies: Proxies) -> Callable[[int], Awaitable[None]]:
    async def limit(size: int) -> None:
        proxies.limit = size

    return limit


bind(globals(), without={"user_transport": "Redis does not tell who has sent a command"})

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import aiormq
import pytest
from yarl import URL

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_testing.conformance import bind
from tests.support.message_limit import message_size_limits
from tests.support.proxy import Proxy
from tools.broker import GivenBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.transport import Transport
    from tools.broker import Broker

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def proxies() -> AsyncIterator[Proxies]:
    async with AsyncExitStack() as stack:
        yield Proxies(stack)


class Proxies(dict["Transport", Proxy]):
    """The proxy through which each transport reaches the broker."""

    def __init__(self, stack: AsyncExitStack) -> None:
        super().__init__()
        self._stack = stack

    async def open(self, url: str) -> Proxy:
        return await self._stack.enter_async_context(Proxy(url))


@pytest.fixture
def make_transport(amqp_url: str, proxies: Proxies) -> Callable[[], Awaitable[Transport]]:
    async def make() -> Transport:
        proxy = await proxies.open(amqp_url)
        # Some tests wait for an operation that is given up.
        settings = replace(load_settings(url=proxy.url), connect_timeout=5.0)
        transport = RabbitMQTransport(settings, "conformance")
        proxies[transport] = proxy
        return transport

    return make


@pytest.fixture
async def user_transport(amqp_url: str, rabbitmq: Broker) -> AsyncIterator[Callable[[str], Awaitable[Transport]]]:
    if isinstance(rabbitmq, GivenBroker):
        pytest.skip("rabbitmqctl cannot be run on a broker that is only known by its URL")
    made: set[str] = set()

    async def make(user: str) -> Transport:
        settings = replace(load_settings(url=amqp_url), identify=False)
        if user:
            if user not in made:
                made.add(user)
                await asyncio.to_thread(rabbitmq.ctl, "add_user", user, "secret")
                await asyncio.to_thread(rabbitmq.ctl, "set_permissions", user, r"^amq\.gen.*$", "^rpc$", ".*")
            settings = load_settings(url=str(URL(amqp_url).with_user(user).with_password("secret")))
        return RabbitMQTransport(settings, "conformance")

    yield make
    for user in made:
        await asyncio.to_thread(rabbitmq.ctl, "delete_user", user)


@pytest.fixture
def break_connection(proxies: Proxies) -> Callable[[Transport], Awaitable[None]]:
    async def cut(transport: Transport) -> None:
        proxies[transport].cut()

    return cut


@pytest.fixture
def unreachable(proxies: Proxies) -> Callable[[Transport], AbstractAsyncContextManager[object]]:
    @asynccontextmanager
    async def cut_off(transport: Transport) -> AsyncIterator[None]:
        assert isinstance(transport, RabbitMQTransport)
        proxies[transport].refusing = True
        proxies[transport].cut()
        transport.abort()
        connection = transport._connection
        # Tests of a first connect() wait until it gives up; what waits for the next connection is as patient as ever.
        patient, connection._connect_timeout = connection._connect_timeout, 0.5
        try:
            yield
        finally:
            connection._connect_timeout = patient
            proxies[transport].refusing = False

    return cut_off


@pytest.fixture
def delete_queue(amqp_url: str) -> Callable[[str], Awaitable[None]]:
    async def delete(name: str) -> None:
        connection = await aiormq.connect(amqp_url)
        try:
            await (await connection.channel()).queue_delete(name)
        finally:
            await connection.close()

    return delete


@pytest.fixture
def dead_letters(amqp_url: str) -> Callable[[str], Awaitable[list[tuple[bytes, str]]]]:
    async def take(queue: str) -> list[tuple[bytes, str]]:
        connection = await aiormq.connect(amqp_url)
        found = []
        try:
            channel = await connection.channel()
            while (letter := await channel.basic_get("rpc.dead", no_ack=True)).delivery_tag is not None:
                properties = letter.header.properties
                headers = properties.headers or {}
                if headers["rb-dead-queue"] == queue:
                    found.append(((properties.correlation_id or "").encode(), str(headers["rb-dead-reason"])))
        finally:
            await connection.close()
        return found

    return take


@pytest.fixture
def message_limit(rabbitmq: Broker) -> Iterator[Callable[[int], Awaitable[None]]]:
    if isinstance(rabbitmq, GivenBroker):
        pytest.skip("rabbitmqctl cannot be run on a broker that is only known by its URL")
    with message_size_limits(rabbitmq) as set_limit:

        async def limit(size: int) -> None:
            await asyncio.to_thread(set_limit, size)

        yield limit


bind(globals())

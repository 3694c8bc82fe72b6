from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiormq
import pytest

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_testing.conformance import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.transport import Transport

pytestmark = pytest.mark.rabbitmq


class Cable:
    """A TCP relay to the broker that can be cut and mended, one for each transport."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._links: set[asyncio.StreamWriter] = set()
        self._plugged_in = True
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        for writer in list(self._links):
            writer.transport.abort()

    def unplug(self) -> None:
        self._plugged_in = False
        self.cut()

    def plug_in(self) -> None:
        self._plugged_in = True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._plugged_in:
            writer.transport.abort()
            return
        remote_reader, remote_writer = await asyncio.open_connection(*self._target)
        ends = {writer, remote_writer}
        self._links |= ends
        try:
            await asyncio.gather(_copy(reader, remote_writer), _copy(remote_reader, writer))
        finally:
            self._links -= ends
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # cut on purpose
    writer.transport.abort()


@pytest.fixture
async def cables() -> AsyncIterator[dict[Transport, Cable]]:
    cables: dict[Transport, Cable] = {}
    yield cables
    for cable in cables.values():
        await cable.close()


@pytest.fixture
def make_transport(amqp_url: str, cables: dict[Transport, Cable]) -> Callable[[], Awaitable[Transport]]:
    broker = urlsplit(amqp_url)

    async def make() -> Transport:
        cable = Cable(broker.hostname or "127.0.0.1", broker.port or 5672)
        port = await cable.open()
        netloc = f"{broker.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
        settings = load_settings(url=broker._replace(netloc=netloc).geturl())
        # Some tests wait for an attempt to connect to be given up.
        transport = RabbitMQTransport(replace(settings, connect_timeout=5.0), "conformance")
        cables[transport] = cable
        return transport

    return make


@pytest.fixture
def break_connection(cables: dict[Transport, Cable]) -> Callable[[Transport], Awaitable[None]]:
    async def cut(transport: Transport) -> None:
        cables[transport].cut()

    return cut


@pytest.fixture
def unreachable(cables: dict[Transport, Cable]) -> Callable[[Transport], AbstractAsyncContextManager[object]]:
    @asynccontextmanager
    async def cut_off(transport: Transport) -> AsyncIterator[None]:
        assert isinstance(transport, RabbitMQTransport)
        cables[transport].unplug()
        transport.abort()
        try:
            yield
        finally:
            cables[transport].plug_in()

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


bind(globals())

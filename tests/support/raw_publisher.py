"""Publishing messages whose properties are any bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import aiormq
from yarl import URL

from rabibridge._amqp.frames import content
from rabibridge._amqp.methods import publish_method
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.multiplexer_factory import MultiplexerFactory

if TYPE_CHECKING:
    from types import TracebackType

    from rabibridge._amqp.properties import Properties
    from rabibridge_core.errors import ConnectionLostError


class RawPublisher(FastChannel):
    """A fast channel that publishes, and waits for each confirm."""

    def __init__(self, factory: MultiplexerFactory, connection: aiormq.abc.AbstractConnection, channel: int) -> None:
        super().__init__(factory.multiplexer, channel, 4088, 2**20)
        self.connection = connection
        self._confirms: asyncio.Queue[bool | ConnectionLostError] = asyncio.Queue()

    @classmethod
    async def connect(cls, url: str) -> RawPublisher:
        address = URL(url)
        assert address.host is not None
        assert address.port is not None
        factory = await MultiplexerFactory.connect(address.host, address.port, None)
        connection = await aiormq.connect(address, transport_factory=factory)
        channel = await connection.channel(publisher_confirms=True)
        return cls(factory, connection, channel.number)

    async def publish(self, exchange: str, key: str, flags: int, properties: bytes, body: bytes) -> None:
        """Publish a message that the broker takes."""
        method = publish_method(self.number, exchange.encode(), key.encode(), mandatory=True)
        self.write(content(self.number, method, flags, properties, body, self.max_payload))
        confirm = await self._confirms.get()
        if confirm is not True:
            raise AssertionError(f"the broker does not take it: {confirm or 'no route'}")

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        self._confirms.put_nowait(accepted)

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        self._confirms.put_nowait(False)

    def closed(self, error: ConnectionLostError) -> None:
        self._confirms.put_nowait(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.connection.close()

"""Connects a multiplexer and gives aiormq the stream reader and writer on top of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiormq.connection import TransportFactory

from rabibridge._connection.dialer import Dialer
from rabibridge._connection.multiplexer import Multiplexer

if TYPE_CHECKING:
    from yarl import URL

    from rabibridge_core._tls.setup import TLSSetup

__all__ = ["MultiplexerFactory"]


class MultiplexerFactory(TransportFactory):
    """Passes a connected :class:`Multiplexer` to aiormq."""

    def __init__(self, multiplexer: Multiplexer, reader: asyncio.StreamReader, socket: asyncio.Transport) -> None:
        """Wrap a connected multiplexer; use :meth:`connect`."""
        self.multiplexer = multiplexer
        self._reader = reader
        self._socket = socket

    @classmethod
    async def connect(
        cls, host: str, port: int, tls: TLSSetup | None, dialer: Dialer | None = None
    ) -> MultiplexerFactory:
        """Connect by TCP, with TLS if ``tls`` says how.

        Raises:
            OSError: the host cannot be reached, or its certificate is not accepted.
        """
        loop = asyncio.get_running_loop()
        plain = await (dialer or Dialer()).connect(host, port)
        reader = asyncio.StreamReader(loop=loop)
        multiplexer = Multiplexer(reader, loop)
        try:
            socket, _ = await loop.create_connection(
                lambda: multiplexer,
                sock=plain,
                ssl=tls.context if tls else None,
                server_hostname=tls.server_name if tls else None,
            )
        except BaseException:
            plain.close()
            raise
        multiplexer.hold(plain)
        return cls(multiplexer, reader, socket)

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the reader and writer of the multiplexer; aiormq calls this instead of connecting."""
        return self._reader, asyncio.StreamWriter(
            self._socket, self.multiplexer, self._reader, asyncio.get_running_loop()
        )

"""Asks a broker that has closed a connection right after the handshake of TLS why it did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge._connection.dialer import Dialer
from rabibridge_core._tls.probe import first_alert

if TYPE_CHECKING:
    import ssl

    from rabibridge_core._tls.setup import TLSSetup

__all__ = ["alert_of"]


async def alert_of(host: str, port: int, tls: TLSSetup, seconds: float) -> ssl.SSLError | None:
    """Return the alert with which the broker refuses TLS; ``None``: it sent none within ``seconds``."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = await Dialer().connect(host, port)
        try:
            return await asyncio.open_connection(sock=plain, ssl=tls.context, server_hostname=tls.server_name)
        except BaseException:
            plain.close()
            raise

    return await first_alert(connect(), seconds)

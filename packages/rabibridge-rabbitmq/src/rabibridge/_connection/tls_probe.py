"""Finds out why a broker closes a connection right after the handshake of TLS.

With TLS 1.3, the broker looks at the client's certificate when the client considers the handshake done and has sent its
first bytes. A broker that closes a connection with unread bytes resets it, and the network may drop the alert that says
why. So the question is asked again, on a connection on which nothing is sent.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from rabibridge._connection.dialer import Dialer

if TYPE_CHECKING:
    from rabibridge._connection.tls import TLSSetup

__all__ = ["alert_of"]


async def alert_of(host: str, port: int, tls: TLSSetup, seconds: float) -> ssl.SSLError | None:
    """Return the alert with which the broker refuses TLS; ``None``: it sent none within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            plain = await Dialer().connect(host, port)
            try:
                reader, writer = await asyncio.open_connection(
                    sock=plain, ssl=tls.context, server_hostname=tls.server_name
                )
            except BaseException:
                plain.close()
                raise
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as alert:
        return alert
    except (OSError, EOFError, TimeoutError):
        pass  # it is away, or has accepted the certificate and waits
    return None

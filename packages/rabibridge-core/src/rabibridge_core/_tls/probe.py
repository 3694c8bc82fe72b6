"""Finds out why a broker closes a connection right after the handshake of TLS.

With TLS 1.3, the broker looks at the client's certificate when the client considers the handshake done and has sent its
first bytes. A broker that closes a connection with unread bytes resets it, and the network may drop the alert that says
why. So the question is asked again, on a connection on which nothing is sent.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["first_alert"]


async def first_alert(
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], seconds: float
) -> ssl.SSLError | None:
    """Return the alert with which the broker refuses TLS; ``None``: it sent none within ``seconds``.

    Args:
        connecting: connects with TLS.
        seconds: how long that and the alert may take together.
    """
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await connecting
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as alert:
        return alert
    except (OSError, EOFError, TimeoutError):
        pass  # it is away, or has accepted the certificate and waits
    return None

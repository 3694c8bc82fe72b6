"""Connects an operator: one attempt at each host, and no reconnection, so that nothing is done twice."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rabibridge._connection.dialer import Dialer
from rabibridge._connection.session import Session
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.settings import Settings

__all__ = ["connection_name", "operator_session"]


def connection_name(what: str) -> str:
    """Return the name under which the broker lists a connection of an operator."""
    return f"rabibridge {what}@{socket.gethostname()}:{os.getpid()}"


@asynccontextmanager
async def operator_session(settings: Settings, what: str) -> AsyncIterator[Session]:
    """Connect to the first host that can be reached, and close the connection at the end.

    Args:
        settings: endpoints, timeouts and limits.
        what: what the connection is for, which becomes a part of its name on the broker.

    Raises:
        ConfigurationError: the broker refuses the user, the password or the virtual host.
        ConnectionLostError: no host can be reached.
    """
    session = await _connect(settings, connection_name(what))
    try:
        yield session
    finally:
        if session.multiplexer.blocked is not None:  # it would not read that the connection is to be closed
            session.fail(ConnectionLostError("the connection was closed while the broker blocked it"))
        await session.close()


async def _connect(settings: Settings, name: str) -> Session:
    failures: list[ConnectionLostError] = []
    for endpoint in settings.endpoints:
        try:
            return await Session.connect(endpoint, settings, name, Dialer())
        except ConnectionLostError as error:
            failures.append(error)
    if not failures:
        raise ConfigurationError("no broker is configured: set RABIBRIDGE_URL, or a host in the configuration file")
    raise (
        failures[0] if len(failures) == 1 else ConnectionLostError("; ".join(map(str, failures)), executed=False)
    ) from failures[0]

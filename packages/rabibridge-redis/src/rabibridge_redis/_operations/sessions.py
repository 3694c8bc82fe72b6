"""Connects an operator: one attempt at each host, and no reconnection, so that nothing is done twice."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import hiredis

from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_redis._session.log_in import checked_settings
from rabibridge_redis._session.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_core.settings import Endpoint, Settings

__all__ = ["open_session", "operator_session", "permitted"]


@asynccontextmanager
async def operator_session(settings: Settings, what: str) -> AsyncIterator[Session]:
    """Connect to the first host that can be reached, and close the connection at the end.

    Args:
        settings: endpoints, timeouts and limits.
        what: what the connection is for, which becomes a part of its name on the server.

    Raises:
        ConfigurationError: the server refuses the user, the password or the database.
        ConnectionLostError: no host can be reached.
    """
    checked_settings(settings)
    failures: list[ConnectionLostError] = []
    session: Session | None = None
    for endpoint in settings.endpoints:
        try:
            session = await open_session(endpoint, settings, what)
            break
        except ConnectionLostError as error:
            failures.append(error)
    if session is None:
        if not failures:
            raise ConfigurationError("no server is configured: set RABIBRIDGE_URL")
        raise ConnectionLostError("; ".join(map(str, failures)), executed=False) from failures[0]
    try:
        yield session
    finally:
        await session.close()


async def open_session(endpoint: Endpoint, settings: Settings, what: str) -> Session:
    """Connect to one server.

    Raises:
        ConfigurationError: the server refuses the user, the password or the database.
        ConnectionLostError: it cannot be reached.
    """
    session = Session(endpoint, settings, f"rabibridge-{what}@{socket.gethostname()}:{os.getpid()}")
    try:
        await session.open()
    except BaseException:
        session.fail(ConnectionLostError("the attempt to connect has failed"))
        raise
    return session


@contextmanager
def permitted(what: str) -> Iterator[None]:
    """Raise a ConfigurationError for what the server refuses inside the block."""
    try:
        yield
    except hiredis.ReplyError as error:
        advice = "`rabibridge permissions operator` prints what an operator needs"
        raise ConfigurationError(f"Redis refuses {what}: {error}; {advice}") from error

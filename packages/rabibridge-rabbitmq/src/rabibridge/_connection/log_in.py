"""Logs in to a broker with aio-pika, on a socket that is connected already."""

from __future__ import annotations

import asyncio
import ssl as _ssl
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aio_pika import Connection
from yarl import URL

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._connection.multiplexer_factory import MultiplexerFactory
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["log_in", "tls_context"]


class _MultiplexedConnection(Connection):
    """aio-pika's plain connection on top of a multiplexer."""

    def __init__(self, url: URL, factory: MultiplexerFactory, name: str) -> None:
        properties: dict[str, Any] = {
            "connection_name": name,
            "product": "RabiBridge",
            "version": version("rabibridge-rabbitmq"),
        }
        super().__init__(url, client_properties=properties)
        self.kwargs["transport_factory"] = factory

    def __del__(self) -> None:
        """Do nothing: the multiplexer owns the socket.

        aio-pika would close a connection that the broker has refused from wherever the garbage collector happens to
        run: in a thread without an event loop, that leaves a coroutine that nobody awaits.
        """


async def log_in(
    factory: MultiplexerFactory, endpoint: Endpoint, name: str, heartbeat: float, seconds: float
) -> Connection:
    """Log in on a connected socket, or abort it: cancelling aiormq would make it wait for a peer that does not answer.

    Args:
        factory: the socket.
        endpoint: the broker and the login.
        name: the name under which the broker lists the connection.
        heartbeat: the heartbeat interval to ask for, in seconds.
        seconds: how long the broker may take.

    Raises:
        ConnectionLostError: the broker did not answer in time.
    """
    connection, multiplexer = _MultiplexedConnection(_url(endpoint, heartbeat), factory, name), factory.multiplexer
    error = ConnectionLostError(f"{endpoint} did not answer the log-in within {seconds:g} s", executed=False)
    timer = asyncio.get_running_loop().call_later(seconds, multiplexer.abort, error)
    connecting = asyncio.ensure_future(connection.connect())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        multiplexer.abort(ConnectionLostError("the log-in was cancelled", executed=False))
        await asyncio.gather(connecting, return_exceptions=True)
        raise
    except Exception as raised:
        if multiplexer.error is error:
            raise error from raised
        raise
    finally:
        timer.cancel()
    return connection


def _url(endpoint: Endpoint, heartbeat: float) -> URL:
    if not endpoint.username or not endpoint.password:  # aiormq would log in as "guest"
        raise ConfigurationError(f"{endpoint} has no user name or no password; RabbitMQ needs both")
    return URL.build(
        scheme="amqps" if endpoint.ssl else "amqp",
        user=endpoint.username,
        password=endpoint.password.reveal(),
        host=endpoint.host,
        port=endpoint.port,
        path="/" + endpoint.virtualhost,
        query={"heartbeat": str(max(1, round(heartbeat)))},
    )


def tls_context(endpoint: Endpoint) -> _ssl.SSLContext | None:
    """Return what TLS is set up with; ``None``: no TLS."""
    if isinstance(endpoint.ssl, _ssl.SSLContext):
        return endpoint.ssl
    return _ssl.create_default_context() if endpoint.ssl else None

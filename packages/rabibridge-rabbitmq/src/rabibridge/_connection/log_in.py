"""Logs in to a broker with aio-pika, on a socket that is connected already."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aio_pika import Connection
from yarl import URL

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._connection.multiplexer_factory import MultiplexerFactory
    from rabibridge.settings import RabbitMQSettings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["log_in"]


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
    factory: MultiplexerFactory, endpoint: Endpoint, name: str, own: RabbitMQSettings, seconds: float
) -> Connection:
    """Log in on a connected socket, or abort it: cancelling aiormq would make it wait for a peer that does not answer.

    Args:
        factory: the socket.
        endpoint: the broker and the login.
        name: the name under which the broker lists the connection.
        own: the heartbeat interval to ask for, and how to log in.
        seconds: how long the broker may take.

    Raises:
        ConnectionLostError: the broker did not answer in time.
    """
    connection, multiplexer = _MultiplexedConnection(_url(endpoint, own), factory, name), factory.multiplexer
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


def _url(endpoint: Endpoint, own: RabbitMQSettings) -> URL:
    external = own.auth_mechanism == "external"
    if not external and not (endpoint.username and endpoint.password):  # aiormq would log in as "guest"
        raise ConfigurationError(f"{endpoint} has no user name or no password; RabbitMQ needs both")
    return URL.build(
        scheme="amqps" if endpoint.ssl else "amqp",
        user=None if external else endpoint.username,
        password=None if external else endpoint.password.reveal(),
        host=endpoint.host,
        port=endpoint.port,
        path="/" + endpoint.virtualhost,
        query={"heartbeat": str(max(1, round(own.heartbeat))), "auth": own.auth_mechanism},
    )

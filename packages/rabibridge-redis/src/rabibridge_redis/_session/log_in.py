"""Connects a link and logs in: TLS, the version of the protocol, the user, the database."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, NamedTuple

import hiredis

from rabibridge_core._tls.probe import first_alert
from rabibridge_core._tls.refusals import TLSAdvice, TLSRefusedError, tls_refusal
from rabibridge_core._tls.setup import check_tls, tls_setup
from rabibridge_core.errors import ConnectionLostError
from rabibridge_redis._resp.refusals import log_in_error
from rabibridge_redis.settings import redis_settings

if TYPE_CHECKING:
    from rabibridge_core._tls.setup import TLSSetup
    from rabibridge_core.settings import Endpoint, Secret, Settings
    from rabibridge_redis._resp.link import Link
    from rabibridge_redis.settings import RedisSettings

__all__ = ["Login", "Server", "checked_settings", "log_in"]

_PROBE_TIME = 5.0
"""How long a server may take to refuse a certificate, in seconds; one that is silent for so long has accepted it."""
_HANDSHAKE_TIME = 2.0
"""A Redis without TLS waits for more when it meets a handshake. So this is how long to wait before asking whether the
port speaks TLS, in seconds."""
_ADVICE = TLSAdvice(
    port="the tls-port of its redis.conf",
    trusted="tls-ca-cert-file",
    versions="let tls-protocols have TLSv1.2 or TLSv1.3 there",
)


class Login(NamedTuple):
    """As whom to log in.

    Attributes:
        username: empty: the server's default user.
        password: empty: none.
        database: the number of the database.
        name: the name under which the server lists the connection.
    """

    username: str
    password: Secret
    database: str
    name: str


class Server(NamedTuple):
    """What a server says of itself.

    Attributes:
        mode: ``standalone``, ``cluster`` or ``sentinel``.
        role: ``master`` or ``replica``; empty for a Sentinel.
        version: such as ``7.0.15``.
    """

    mode: str
    role: str
    version: str


def checked_settings(settings: Settings) -> RedisSettings:
    """Return the settings that only Redis has, once it is clear that they go together.

    Raises:
        ConfigurationError: they do not.
    """
    own = redis_settings(settings)
    sentinel = "+sentinel" if any("+" in endpoint.scheme for endpoint in settings.endpoints) else ""
    check_tls(own, settings.endpoints, plain=f"redis{sentinel}", secured=f"rediss{sentinel}")
    return own


async def log_in(link: Link, endpoint: Endpoint, own: RedisSettings, login: Login) -> Server:
    """Connect a link, log in, and return what the server says of itself.

    Raises:
        ConnectionLostError: the server cannot be reached.
        ConfigurationError: the server refuses permanently, or TLS is refused.
    """
    tls = tls_setup(endpoint, own)
    try:
        return await _log_in(link, endpoint, tls, login)
    except hiredis.ReplyError as error:
        raise log_in_error(error, endpoint) from error
    except (ConnectionLostError, OSError) as error:
        why = await _tls_refusal(error, endpoint, own, tls) if tls else ""
        if not tls and isinstance(error, ConnectionLostError) and await _speaks_tls(endpoint):
            why = f"port {endpoint.port} expects TLS: use rediss:// instead of redis:// (ssl = true), or the port for "
            why += "connections without TLS, 6379 as a rule"
        if why:
            raise TLSRefusedError(f"cannot connect to {endpoint}: {why}") from error
        if isinstance(error, ConnectionLostError):
            raise ConnectionLostError(f"{endpoint}: {error}", executed=False) from error
        raise ConnectionLostError(f"cannot reach {endpoint}: {error}", executed=False) from error


async def _log_in(link: Link, endpoint: Endpoint, tls: TLSSetup | None, login: Login) -> Server:
    await _connect(link, endpoint, tls)
    password = login.password.reveal()
    who = ("AUTH", login.username or "default", password) if password else ()
    name = "".join(character if "!" <= character <= "~" else "-" for character in login.name)
    hello = await link.ask("HELLO", "3", *who, *(("SETNAME", name) if name else ()))
    if login.database not in ("", "0", "/"):
        await link.ask("SELECT", login.database)
    said = {key: value.decode() for key, value in hello.items() if isinstance(value, bytes)}
    return Server(said.get(b"mode", ""), said.get(b"role", ""), said.get(b"version", ""))


async def _connect(link: Link, endpoint: Endpoint, tls: TLSSetup | None) -> None:
    loop = asyncio.get_running_loop()
    if tls is None:
        await loop.create_connection(lambda: link, endpoint.host, endpoint.port)
        return
    connecting = asyncio.ensure_future(
        loop.create_connection(
            lambda: link, endpoint.host, endpoint.port, ssl=tls.context, server_hostname=tls.server_name
        )
    )
    try:
        await asyncio.wait((connecting,), timeout=_HANDSHAKE_TIME)
        if not connecting.done() and await _is_plain(endpoint):
            raise TLSRefusedError(
                f"cannot connect to {endpoint}: this port does not speak TLS: use the broker's port for TLS, "
                f"{_ADVICE.port}. A connection without TLS is never tried instead"
            )
        await connecting
    finally:
        if connecting.cancel():
            await asyncio.wait((connecting,))


async def _speaks_tls(endpoint: Endpoint) -> bool:
    """Tell whether a port that resets connections without TLS answers the handshake of TLS. Nothing is sent there."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_HANDSHAKE_TIME):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
            writer.transport.abort()
            return True
    except (OSError, TimeoutError):
        return False


async def _is_plain(endpoint: Endpoint) -> bool:
    """Tell whether a port, which does not answer the handshake of TLS, answers a command without TLS."""
    writer = None
    try:
        async with asyncio.timeout(_HANDSHAKE_TIME):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(b"PING\r\n")
            return (await reader.read(1)) in (b"+", b"-")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def _tls_refusal(error: Exception, endpoint: Endpoint, own: RedisSettings, tls: TLSSetup) -> str:
    if why := tls_refusal(error, endpoint, own, _ADVICE):
        return why
    if not isinstance(error, ConnectionLostError):
        return ""
    connecting = asyncio.open_connection(endpoint.host, endpoint.port, ssl=tls.context, server_hostname=tls.server_name)
    alert = await first_alert(connecting, _PROBE_TIME)
    return tls_refusal(alert, endpoint, own, _ADVICE) if alert else ""

"""A server for GET requests, on the event loop that it is started on.

prometheus_client's server has a thread for each request and no limits: whoever can reach its port can hold as many as
he likes. The one in here is what probes and scrapers need, and refuses everything else: HTTP/1.1 without bodies, with
limits for size, time and number of connections.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError
from rabibridge_telemetry.health_server.responses import Response, respond

if TYPE_CHECKING:
    from rabibridge_telemetry.health_server.sources import Source

__all__ = ["HttpServer", "listen"]

_log = get_logger(__name__)
_HEAD_MAX: Final = 16 * 1024
_CONNECTIONS_MAX: Final = 64
_REQUEST_WITHIN: Final = 10.0
_IDLE: Final = 90.0
"""How long a connection may wait for its next request, in seconds: longer than scrapers let pass between two."""
_LOOPBACK: Final = ("127.", "::1")
LOOPBACK_HOSTS: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigurationError: that is not possible.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS_MAX)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"metrics cannot be served on {host}, port {port}: {error}; --metrics-host and --metrics-port (or "
            "RABIBRIDGE_METRICS_HOST and RABIBRIDGE_METRICS_PORT) choose others"
        ) from error


class HttpServer:
    """Answers requests with what a source tells."""

    def __init__(self, source: Source, listening: socket.socket) -> None:
        """Serve ``source`` on ``listening``, which it closes."""
        self._source = source
        self._socket = listening
        host, self.port = listening.getsockname()[:2]
        self.host: str = host
        self._hosts = LOOPBACK_HOSTS if host.startswith(_LOOPBACK) else None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._connected, sock=self._socket, limit=_HEAD_MAX)
        _log.info(
            "metrics: http://%s:%d/metrics",
            f"[{self.host}]" if ":" in self.host else self.host,
            self.port,
            extra=log_fields("metrics.serving"),
        )

    async def close(self) -> None:
        """Accept no more, and close what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= _CONNECTIONS_MAX:
            writer.write(_encoded(Response(503, b"Too many connections.\n"), "GET", keep=False))
            writer.close()
            return
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or too slow
        except asyncio.CancelledError:
            pass  # close()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether another one may follow."""
        async with asyncio.timeout(_IDLE):
            first = await reader.readexactly(1)
        try:
            async with asyncio.timeout(_REQUEST_WITHIN):
                head = first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            writer.write(_encoded(Response(431, b"The request is too large.\n"), "GET", keep=False))
            return False
        method, path, headers = _parsed(head)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        keep = headers.get("connection", "").lower() != "close" and not has_body and head.endswith(b"\r\n\r\n")
        if not method or has_body:
            response, keep = Response(400, b"The request is not understood.\n"), False
        else:
            response = await self._respond(method, path, headers)
        writer.write(_encoded(response, method, keep=keep))
        async with asyncio.timeout(_REQUEST_WITHIN):
            await writer.drain()
        return keep

    async def _respond(self, method: str, path: str, headers: dict[str, str]) -> Response:
        try:
            return await respond(self._source, method, path, headers, self._hosts)
        except Exception:  # noqa: BLE001 - whoever asks gets an answer, and the log the reason
            _log.exception(
                "a request for %r cannot be answered", path[:100], extra=log_fields("metrics.request_failed")
            )
            return Response(500, b"The log of the program says why.\n")


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return method, path and headers; an empty method: it is no request of HTTP/1."""
    request, *lines = head.decode("latin-1").split("\r\n")
    words = request.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", "", {}
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    if words[2] == "HTTP/1.0":
        headers["connection"] = "close"
    return words[0], words[1].partition("?")[0], headers


def _encoded(response: Response, method: str, *, keep: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'keep-alive' if keep else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else response.body)

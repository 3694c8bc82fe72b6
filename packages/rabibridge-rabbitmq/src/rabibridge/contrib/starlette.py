"""RabiBridge in applications of Starlette, and in those that are built on it.

``pip install 'rabibridge-rabbitmq[starlette]'``. FastAPI has a module of its own, :mod:`rabibridge.contrib.fastapi`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

try:
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise ImportError(
        "rabibridge.contrib.starlette needs Starlette: pip install 'rabibridge-rabbitmq[starlette]'"
    ) from error

from rabibridge._gateway.core import DEFAULT, GatewayCore, GatewayMiddleware
from rabibridge._gateway.events import ServerEvent
from rabibridge._gateway.sockets import BrowserSocket, browser_socket
from rabibridge.contrib._sse import SSEResponse, progress_events
from rabibridge.mq import RMQClient
from rabibridge_core.errors import ConfigurationError, RabiBridgeError
from rabibridge_core.rpc import ShardedClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.websockets import WebSocket

    from rabibridge_core.errors import ServiceError

__all__ = ["BrowserSocket", "Gateway", "SSEResponse", "ServerEvent", "progress_events"]

for _named in (BrowserSocket, SSEResponse, ServerEvent, progress_events):
    _named.__module__ = __name__  # where users find them


class Gateway:
    """Lets an application call services: clients, deadlines, cancellation, and errors as HTTP responses.

    Make one at module level; nothing is connected before the lifespan of an application begins. ``install`` does the
    rest. One gateway may serve several applications and event loops, as in tests: each loop has clients of its own.

    Example::

        gateway = Gateway(timeout=10)

        async def total(request: Request) -> JSONResponse:
            rpc = gateway.client(request)
            return JSONResponse(await rpc.call("add", 1, 2))

        app = Starlette(routes=[Route("/total", total), *gateway.health_routes()])
        gateway.install(app)

    Args:
        client: makes the client, such as the class itself or ``lambda: RMQClient(namespace="shop")``; for several
            brokers ``lambda: ShardedClient(...)``, which :meth:`sharded` returns.
        clients: further ones, by name.
        timeout: what all calls for one request may take together, in seconds; ``None``: only their own timeouts count.
        stream_timeout: the same for server-sent events and WebSockets.
        statuses: the HTTP statuses of errors that services declare, by class or code: ``{OutOfStock: 409}``. They are
            told with their fields; those that are not named are internal errors.
        deadline_header: the header in which a request says how long its sender waits: ``2.5`` (seconds), ``250ms``, or
            as gRPC writes it. The shorter one of it and ``timeout`` counts. ``None``: none is read.
        criticality_header: the header that names a class of criticality.
        criticalities: the classes that may be named in it; others are ignored. None by default.
        forward_headers: headers of the request that its calls get, such as ``("traceparent", "tracestate")``. Leave
            those out where OpenTelemetry sets them.
        cancel_on_disconnect: whether a request that has a client is cancelled when its browser goes away.
        expose_details: tell browsers the texts of errors; for networks where everybody may see them.
        drain_timeout: how long closing waits for requests that are being answered, in seconds.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        client: Callable[[], RMQClient | ShardedClient] = RMQClient,
        *,
        clients: Mapping[str, Callable[[], RMQClient | ShardedClient]] | None = None,
        timeout: float | None = 30.0,
        stream_timeout: float | None = 3600.0,
        statuses: Mapping[str | type[ServiceError], int] | None = None,
        deadline_header: str | None = "Request-Timeout",
        criticality_header: str = "Request-Criticality",
        criticalities: Sequence[str] = (),
        forward_headers: Sequence[str] = (),
        cancel_on_disconnect: bool = True,
        expose_details: bool = False,
        drain_timeout: float = 10.0,
    ) -> None:
        if clients is not None and DEFAULT in clients:
            raise ConfigurationError(f"the name {DEFAULT!r} is that of the argument client; choose another one")
        self._core = GatewayCore(
            {DEFAULT: client, **(clients or {})},
            timeout=timeout,
            stream_timeout=stream_timeout,
            statuses=statuses or {},
            deadline_header=deadline_header,
            criticality_header=criticality_header,
            criticalities=criticalities,
            forward_headers=forward_headers,
            cancel_on_disconnect=cancel_on_disconnect,
            expose_details=expose_details,
            drain_timeout=drain_timeout,
        )

    def install(self, app: Starlette) -> None:
        """Make it a part of an application, before that starts: its lifespan, a middleware, and the handler of errors.

        The clients are connected before the application's own lifespan begins, and closed after its end. A handler that
        the application has for one class of errors comes first.
        """
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
            async with self._core.connected(), inner(app) as state:
                yield state

        app.router.lifespan_context = cast("Any", lifespan)
        app.add_middleware(cast("Any", GatewayMiddleware), gateway=self._core)
        app.add_exception_handler(RabiBridgeError, self._answer)

    def connected(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which the clients are connected, for tests in which no lifespan runs."""
        return self._core.connected()

    def client(self, connection: HTTPConnection) -> RMQClient:
        """Return the client, for one request or WebSocket.

        Calls inherit the deadline of the request. From now on, the task of the request is cancelled when its browser
        goes away before the response is complete, and the functions that it has called are cancelled with it; see
        ``cancel_on_disconnect``.

        Raises:
            RuntimeError: the lifespan of the application does not run.
        """
        return cast("RMQClient", self._core.client(connection.scope))

    def sharded(self, connection: HTTPConnection) -> ShardedClient:
        """Return the client like :meth:`client` does, if it is one of several brokers.

        Raises:
            ConfigurationError: it is a client of one broker.
            RuntimeError: the lifespan of the application does not run.
        """
        client = self._core.client(connection.scope)
        if not isinstance(client, ShardedClient):
            raise ConfigurationError(
                f"the client of the gateway is {client!r}: use gateway.client, or give Gateway a function that makes a "
                "ShardedClient"
            )
        return client

    def named(self, name: str) -> Callable[[HTTPConnection], RMQClient]:
        """Return a function like :meth:`client` for one of ``clients``.

        Raises:
            ConfigurationError: there is none of that name.
        """
        if name not in self._core.factories:
            known = ", ".join(map(repr, self._core.factories))
            raise ConfigurationError(f"the gateway has no client {name!r}; there are {known}")

        def client(connection: HTTPConnection) -> RMQClient:
            return cast("RMQClient", self._core.client(connection.scope, name))

        return client

    @asynccontextmanager
    async def websocket(self, websocket: WebSocket) -> AsyncIterator[BrowserSocket]:
        """Accept a WebSocket for a block, and close it at its end with a code that says how it went.

        1000: all is done. 4000 + the HTTP status of an error, such as 4503, with its short name as the reason. 1011:
        another exception, which is raised. When the browser goes away, the block is cancelled.

        Example::

            async with gateway.websocket(websocket) as browser:
                await browser.send_all(rpc.stream(doubled, browser.messages()))
        """
        await websocket.accept()

        def failed(error: RabiBridgeError) -> Any:
            return self._core.problem(error, f"WebSocket {websocket.url.path}")

        async with browser_socket(websocket.receive, cast("Any", websocket.send), failed) as browser:
            yield browser

    def health_routes(self) -> list[Route]:
        """Return ``/healthz``, which always answers, and ``/readyz``, which answers 503 while a client cannot call."""

        async def alive(request: Request) -> Response:
            return JSONResponse({"status": "alive"}, headers={"cache-control": "no-store"})

        async def ready(request: Request) -> Response:
            return self._readiness()

        return [Route("/healthz", alive), Route("/readyz", ready)]

    def _readiness(self) -> Response:
        running = self._core.running
        health = {} if running is None else {name: client.health() for name, client in running.clients.items()}
        ok = bool(health) and all(health.values())
        clients = {
            name: {"ready": one.ok, "state": one.state.value}
            | ({"reasons": list(one.reasons)} if self._core.expose_details else {})
            for name, one in health.items()
        }
        body = {"status": "ready" if ok else "unavailable", "clients": clients}
        return JSONResponse(body, 200 if ok else 503, {"cache-control": "no-store"})

    async def _answer(self, connection: HTTPConnection, error: Exception) -> Response:
        assert isinstance(error, RabiBridgeError)
        method = connection.scope.get("method", "WebSocket")
        problem = self._core.problem(error, f"{method} {connection.url.path}")
        if connection.scope["type"] == "websocket":
            socket = cast("WebSocket", connection)
            with suppress(RuntimeError):  # it is closed already
                await socket.close(4000 + problem.status, problem.body["code"])
        return Response(problem.encode(), problem.status, problem.headers)

"""The clients of a gateway, and what surrounds each of its requests: an ASGI middleware, and the lifespan."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rabibridge._gateway.exchange import Exchange, exchanging, send_problem
from rabibridge._gateway.problems import Problem, log_problem, problem_for, problem_of
from rabibridge._gateway.request_headers import header, parse_timeout, passed_headers
from rabibridge._gateway.statuses import Answer
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._observability.request_scope import RequestScope, is_request_id
from rabibridge_core.errors import ConfigurationError, ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from rabibridge._gateway.exchange import Receive, Send
    from rabibridge_core.errors import RabiBridgeError
    from rabibridge_core.rpc import RpcClient, ShardedClient

    Scope = dict[str, Any]
    App = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["REQUEST", "GatewayCore", "GatewayMiddleware", "GatewayRequest"]

REQUEST = "rabibridge.request"
"""The key of a :class:`GatewayRequest` in the ASGI scope."""
DEFAULT = "default"
"""The name of the client that needs none."""


class Running:
    """The clients of a gateway on one event loop, and how many requests are being answered with them."""

    def __init__(self) -> None:
        self.clients: dict[str, RpcClient | ShardedClient] = {}
        self.users = 0
        self.active = 0
        self.lock = asyncio.Lock()
        self.idle = asyncio.Event()
        self.idle.set()


class GatewayRequest:
    """One request that passes a gateway.

    Attributes:
        gateway: the gateway that it passes.
        scope: what calls that are made for it inherit.
        exchange: its messages; ``None``: it is a WebSocket.
    """

    def __init__(
        self,
        gateway: GatewayCore,
        scope: RequestScope,
        exchange: Exchange | None,
        wanted: float | None,
        longest: float | None,
    ) -> None:
        """Note the time that the browser has asked for, and the longest that a stream may take, in seconds."""
        self.gateway = gateway
        self.scope = scope
        self.exchange = exchange
        self._stream_ends_at = monotonic() + min(wanted or math.inf, longest or math.inf)

    def streams(self) -> None:
        """Called when it turns out to be a stream, which has a limit of its own."""
        self.scope.ends_at = None if self._stream_ends_at == math.inf else self._stream_ends_at


class GatewayCore:
    """What a gateway does in every framework. The classes of ``rabibridge.contrib`` describe its arguments."""

    def __init__(
        self,
        clients: Mapping[str, Callable[[], RpcClient | ShardedClient]],
        *,
        timeout: float | None,
        stream_timeout: float | None,
        statuses: Mapping[str | type[ServiceError], int],
        deadline_header: str | None,
        criticality_header: str,
        criticalities: Sequence[str],
        forward_headers: Sequence[str],
        cancel_on_disconnect: bool,
        expose_details: bool,
        drain_timeout: float,
    ) -> None:
        """Check the arguments; nothing is connected."""
        for name, factory in clients.items():
            if not callable(factory):
                raise ConfigurationError(
                    f"the client {name!r} is {repr(factory)[:80]}; give a function that makes one, such as the class "
                    "RMQClient: each run of the application needs a client of its own"
                )
        for what, seconds in (("timeout", timeout), ("stream_timeout", stream_timeout)):
            if seconds is not None and not seconds > 0:
                raise ConfigurationError(f"{what} is {seconds!r}; it must be a positive number of seconds, or None")
        for name in forward_headers:
            RequestScope(headers={name: ""})  # it refuses what cannot be a header of a call
        for name in criticalities:
            RequestScope(criticality=name)
        if isinstance(forward_headers, str) or isinstance(criticalities, str):
            raise ConfigurationError("forward_headers and criticalities are lists of names; got a text")
        for key, status in statuses.items():
            if not (type(status) is int and 400 <= status <= 599):
                raise ConfigurationError(f"the status of {key!r} is {status!r}; it must be from 400 to 599")
        self.factories = dict(clients)
        self.cancel_on_disconnect = cancel_on_disconnect
        self.expose_details = expose_details
        self._timeout, self._stream_timeout, self._statuses = timeout, stream_timeout, dict(statuses)
        self._deadline_header, self._criticality_header = deadline_header, criticality_header
        self._criticalities, self._forward_headers = frozenset(criticalities), tuple(forward_headers)
        self._drain_timeout = drain_timeout
        self._running: WeakKeyDictionary[asyncio.AbstractEventLoop, Running] = WeakKeyDictionary()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect the clients, and close them at the end, when the requests in flight have been answered."""
        loop = asyncio.get_running_loop()
        running = self._running.setdefault(loop, Running())
        async with running.lock:
            if not running.users:
                async with AsyncExitStack() as stack:
                    for name, factory in self.factories.items():
                        running.clients[name] = client = factory()
                        await stack.enter_async_context(client)
                    stack.pop_all()
            running.users += 1
        try:
            yield
        finally:
            running.users -= 1
            if not running.users:
                await self._close(running)

    async def _close(self, running: Running) -> None:
        try:
            async with asyncio.timeout(self._drain_timeout):
                await running.idle.wait()
        except TimeoutError:
            pass  # the calls of those that remain end with ConnectionLostError
        async with running.lock:
            if not running.users:
                clients, running.clients = running.clients, {}
                await asyncio.gather(*(client.close() for client in clients.values()))

    @property
    def running(self) -> Running | None:
        """The clients on the event loop that runs here."""
        return self._running.get(asyncio.get_running_loop())

    def client(self, scope: Any, name: str = DEFAULT) -> RpcClient | ShardedClient:
        """Return a client for a request, which is cancelled from now on when its browser goes away.

        Raises:
            RuntimeError: the lifespan of the application does not run, or the middleware is missing.
        """
        running = self.running
        if running is None or name not in running.clients:
            raise RuntimeError(
                "the clients of the gateway are not connected, because the lifespan of the application does not run: "
                "in tests, use 'with TestClient(app) as browser:', or 'async with gateway.connected():' around "
                "httpx.ASGITransport"
            )
        request = self.request(scope)
        if self.cancel_on_disconnect and request.exchange is not None:
            request.exchange.watch()
        return running.clients[name]

    @staticmethod
    def request(scope: Any) -> GatewayRequest:
        """Return what is known of a request.

        Raises:
            RuntimeError: the middleware is missing.
        """
        request: GatewayRequest | None = scope.get(REQUEST)
        if request is None:
            raise RuntimeError("the gateway is not part of this application: call gateway.install(app) first")
        return request

    def problem(self, error: RabiBridgeError, what: str) -> Problem:
        """Return the response for an error, and log what it does not say."""
        problem = problem_of(error, self._statuses, details=self.expose_details)
        log_problem(error, problem, what)
        return problem

    def begin(self, scope: Any, receive: Receive, send: Send) -> GatewayRequest | Problem:
        """Return what is known of a request, or why it is refused."""
        headers, wanted, criticality = scope["headers"], None, None
        if self._deadline_header and (text := header(headers, self._deadline_header)) is not None:
            wanted = parse_timeout(text)
            if wanted is None:
                said = f"The header {self._deadline_header} must be a time such as 2.5, 2.5s or 250ms."
                return problem_for(Answer(400, "deadline", said))
        if self._criticalities:
            named = header(headers, self._criticality_header)
            criticality = named if named in self._criticalities else None
        limits = [seconds for seconds in (wanted, self._timeout) if seconds is not None]
        request_id = header(headers, "x-request-id")
        inherited = RequestScope(
            min(limits) if limits else None,
            criticality,
            passed_headers(headers, self._forward_headers),
            request_id if is_request_id(request_id) else None,
        )
        exchange = None
        if scope["type"] == "http":
            task = asyncio.current_task()
            assert task is not None
            exchange = Exchange(receive, send, task)
        request = GatewayRequest(self, inherited, exchange, wanted, self._stream_timeout)
        if exchange is None:
            request.streams()
        return request


class GatewayMiddleware:
    """The ASGI middleware of a gateway: deadlines, headers, and the end of requests whose browser has gone away."""

    def __init__(self, app: App, gateway: GatewayCore) -> None:
        """Surround ``app``."""
        self.app = app
        self._gateway = gateway

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] not in ("http", "websocket") or REQUEST in scope:
            await self.app(scope, receive, send)
            return
        request = self._gateway.begin(scope, receive, send)
        if isinstance(request, Problem):
            if scope["type"] == "http":
                await send_problem(send, request.status, request.encode(), request.headers)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 4000 + request.status, "reason": request.body["code"]})
            return
        scope[REQUEST] = request
        running = self._gateway.running
        token = current_call_var.set(request.scope)
        if running is not None:
            running.active += 1
            running.idle.clear()
        try:
            await self._answer(request, scope, receive, send)
        finally:
            request.scope.over = True
            current_call_var.reset(token)
            if running is not None:
                running.active -= 1
                if not running.active:
                    running.idle.set()

    async def _answer(self, request: GatewayRequest, scope: Any, receive: Receive, send: Send) -> None:
        exchange, task = request.exchange, asyncio.current_task()
        if exchange is None or task is None:
            await self.app(scope, receive, send)
            return

        async def sent(message: Any) -> None:
            await exchange.send(message)
            if exchange.finished:  # background tasks take the time they need
                request.scope.over = True

        await exchanging(exchange, self.app(scope, exchange.receive, sent), task, send)

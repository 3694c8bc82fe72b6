"""Helpers of the conformance tests: transports, clients and servers that are closed when the test ends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import pytest

from rabibridge_core._client.client import Client
from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.naming import queue_name, routing_keys
from rabibridge_core._server.server import Server
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.rpc import RpcClient
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply, Request, ServiceQueue, Transport
from rabibridge_testing.conformance.optional import optional
from rabibridge_testing.conformance.waiting import PATIENCE, longer, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from rabibridge_core._services.access import Policy
    from rabibridge_core.errors import ConfigurationError, ConnectionLostError, ContentRejectedError
    from rabibridge_core.transport import Caller, FeedRefusal, Headers, IncomingBroadcast, IncomingRequest, Refusal

__all__ = [
    "PATIENCE",
    "Bench",
    "BreakConnection",
    "ConformanceBase",
    "DeadLetters",
    "DeleteQueue",
    "Inbox",
    "LimitMessages",
    "Refused",
    "TransportOf",
    "Unreachable",
    "Worker",
    "longer",
    "request_to",
    "service",
    "soon",
    "until",
]

BreakConnection: TypeAlias = Callable[[Transport], Awaitable[None]]
Unreachable: TypeAlias = Callable[[Transport], AbstractAsyncContextManager[object]]
DeleteQueue: TypeAlias = Callable[[str], Awaitable[None]]
TransportOf: TypeAlias = Callable[[str], Awaitable[Transport]]
LimitMessages: TypeAlias = Callable[[int], Awaitable[None]]
DeadLetters: TypeAlias = Callable[[str], Awaitable[list[tuple[bytes, str]]]]


class Refused(NamedTuple):
    """A request that the broker has refused."""

    correlation_id: bytes
    refusal: FeedRefusal
    detail: str


class Inbox:
    """Records the events of a caller, for a test to await."""

    def __init__(self) -> None:
        """Start without events."""
        self.replies: asyncio.Queue[tuple[bytes, Reply]] = asyncio.Queue()
        self.refusals: asyncio.Queue[Refused] = asyncio.Queue()
        self.refused_feeds: asyncio.Queue[Refused] = asyncio.Queue()
        self.losses: asyncio.Queue[ConnectionLostError | ConfigurationError] = asyncio.Queue()
        self.confirms: asyncio.Queue[bytes] = asyncio.Queue()
        self.limits: asyncio.Queue[int] = asyncio.Queue()
        self.unconfirmed: set[bytes] = set()  # when the connection was last lost

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Called when a reply has arrived."""
        self.replies.put_nowait((bytes(correlation_id), reply))

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """Called when the broker has refused a request."""
        self.refusals.put_nowait(Refused(bytes(correlation_id), refusal, detail))

    def feed_refused(self, correlation_id: bytes, refusal: FeedRefusal, detail: str, /) -> None:
        """Called when the broker has refused a further message of a call."""
        self.refused_feeds.put_nowait(Refused(bytes(correlation_id), refusal, detail))

    def confirmed(self, correlation_id: bytes, /) -> None:
        """Called when the broker has accepted a notification or a broadcast."""
        self.confirms.put_nowait(bytes(correlation_id))

    def not_permitted(self, routing_key: str, error: ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called when the broker refuses the user all requests to a routing key."""

    def too_large(self, limit: int, unconfirmed: Collection[bytes], /) -> None:
        """Called when the broker has refused a request because of its size."""
        self.limits.put_nowait(limit)

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called when the connection was lost."""
        self.unconfirmed = {bytes(correlation_id) for correlation_id in unconfirmed}
        self.losses.put_nowait(error)


class Worker:
    """Records the events of a consumer, for a test to await."""

    def __init__(self) -> None:
        """Start without events."""
        self.requests: asyncio.Queue[IncomingRequest] = asyncio.Queue()
        self.broadcasts: asyncio.Queue[IncomingBroadcast] = asyncio.Queue()
        self.losses: asyncio.Queue[ConnectionLostError] = asyncio.Queue()
        self.cancels: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self.gone: asyncio.Queue[bytes] = asyncio.Queue()
        self.fed_messages: asyncio.Queue[tuple[bytes, bytes, Reply]] = asyncio.Queue()
        self.refused_replies: asyncio.Queue[tuple[IncomingRequest, ContentRejectedError]] = asyncio.Queue()

    def received(self, request: IncomingRequest, /) -> None:
        """Called when a request has arrived."""
        self.requests.put_nowait(request)

    def broadcast_received(self, request: IncomingBroadcast, /) -> None:
        """Called when a broadcast has arrived."""
        self.broadcasts.put_nowait(request)

    def lost(self, error: ConnectionLostError, /) -> None:
        """Called when the connection was lost."""
        self.losses.put_nowait(error)

    def cancelled(self, caller: bytes, correlation_id: bytes, user: str = "", /) -> None:
        """Called when a caller has cancelled a call."""
        self.cancels.put_nowait((bytes(caller), bytes(correlation_id)))

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        """Called when the broker has refused a reply because of its size."""
        self.refused_replies.put_nowait((request, error))

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str = "", /) -> None:
        """Called with a further message of a caller."""
        self.fed_messages.put_nowait((bytes(caller), bytes(correlation_id), message))

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller has disconnected."""
        self.gone.put_nowait(bytes(caller))

    async def next(self) -> IncomingRequest:
        """Wait for the next request and return it."""
        return await soon(self.requests.get())


def request_to(
    queue: ServiceQueue,
    correlation_id: bytes = b"1",
    body: bytes = b"body",
    *,
    timeout: float | None = None,
    headers: Headers | None = None,
    persistent: bool = False,
) -> Request:
    """Return a request for the service of ``queue``."""
    key, content_type = queue.routing_keys[0], "application/octet-stream"
    return Request(key, correlation_id, body, content_type, None, timeout, headers, persistent)


def service(func: Callable[..., Any], name: str, **limits: Any) -> ServiceSchema:
    """Return ``func`` as a service of that name."""
    func.__name__ = name
    return ServiceSchema.of(func, ServiceLimits(**limits))


class Bench:
    """Creates transports, clients and servers for one test, and closes them when the test ends."""

    def __init__(self, make_transport: Callable[[], Awaitable[Transport]]) -> None:
        """Get all transports from ``make_transport``."""
        self._make_transport, self._stack = make_transport, AsyncExitStack()

    def name(self, stem: str = "service") -> str:
        """Return a unique service name."""
        return f"{stem}_{uuid.uuid4().hex[:12]}"

    def queue(self, **limits: Any) -> ServiceQueue:
        """Return a queue with a unique name; ``limits`` are fields of ServiceQueue."""
        name, chosen = self.name(), {"queue_size": None, "fetch_size": 16, **limits}
        return ServiceQueue(queue_name(name, is_async=True), routing_keys(name, is_async=True), **chosen)

    async def transport(self, *, connect: bool = True) -> Transport:
        """Return a new transport, connected unless ``connect`` is false."""
        transport = await self._make_transport()
        self._stack.push_async_callback(transport.close)
        if connect:
            await soon(transport.connect())
        return transport

    async def caller(self, transport: Transport | None = None) -> tuple[Caller, Inbox]:
        """Return a new caller, and the inbox that records its events."""
        inbox, transport = Inbox(), transport or await self.transport()
        return await soon(transport.open_caller(inbox)), inbox

    async def client(
        self, *, codec: Codec | None = None, transport: Transport | None = None, connect: bool = True
    ) -> Client:
        """Return a new client, connected unless ``connect`` is false."""
        transport = transport or await self._make_transport()
        client = Client(transport, codec or Codec(), hooks=CallHooks(), name=self.name("client"))
        self._stack.push_async_callback(client.close)
        if connect:
            await soon(client.connect())
        return client

    async def rpc_client(self, transport: Transport | None = None) -> RpcClient:
        """Return a new client as programs use it, connected."""
        transport = transport or await self._make_transport()
        client = RpcClient(transport=transport, settings=load_settings(require_broker=False))
        self._stack.push_async_callback(client.close)
        return await soon(client.connect())

    async def server(
        self,
        *services: ServiceSchema,
        codec: Codec | None = None,
        connect: bool = True,
        start: bool = True,
        drain_timeout: float = PATIENCE,
        control: bool = True,
        policy: Policy | None = None,
    ) -> Server:
        """Return a new server, connected and serving unless ``connect`` or ``start`` is false."""
        transport = await self._make_transport()
        server = Server(
            transport, codec or Codec(), hooks=CallHooks(), drain_timeout=drain_timeout, name=self.name("server"),
            control=control, policy=policy,
        )  # fmt: skip
        for schema in services:
            server.add(schema)
        self._stack.push_async_callback(server.close)
        if connect:
            await soon(server.connect())
        if connect and start:
            await soon(server.start())
        return server

    async def close(self) -> None:
        """Close everything, in reverse order of creation."""
        async with asyncio.timeout(2 * PATIENCE):
            await self._stack.aclose()


class ConformanceBase:
    """Base class of all conformance classes: the fixtures that they share."""

    without: ClassVar[Mapping[str, str]] = {}
    """Why optional fixtures are missing, by their names; :func:`bind` sets it."""

    @pytest.fixture
    async def bench(self, make_transport: Callable[[], Awaitable[Transport]]) -> AsyncIterator[Bench]:
        """Provide a bench that is closed after the test."""
        bench = Bench(make_transport)
        yield bench
        await bench.close()

    @pytest.fixture
    def cut_off(self, request: pytest.FixtureRequest) -> Unreachable:
        """Provide the author's fixture ``unreachable``; without one, skip the test."""
        found: Unreachable = optional(request, "unreachable")
        return found

    @pytest.fixture
    def remove_queue(self, request: pytest.FixtureRequest) -> DeleteQueue:
        """Provide the author's fixture ``delete_queue``; without one, skip the test."""
        found: DeleteQueue = optional(request, "delete_queue")
        return found

    @pytest.fixture
    def transport_of(self, request: pytest.FixtureRequest) -> TransportOf:
        """Provide the author's fixture ``user_transport``; without one, skip the test."""
        return optional(request, "user_transport")  # type: ignore[no-any-return]

    @pytest.fixture
    def limit_messages(self, request: pytest.FixtureRequest) -> LimitMessages:
        """Provide the author's fixture ``message_limit``; without one, skip the test."""
        found: LimitMessages = optional(request, "message_limit")
        return found

    @pytest.fixture
    def read_dead_letters(self, request: pytest.FixtureRequest) -> DeadLetters:
        """Provide the author's fixture ``dead_letters``; without one, skip the test."""
        found: DeadLetters = optional(request, "dead_letters")
        return found

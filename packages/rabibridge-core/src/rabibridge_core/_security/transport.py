"""A transport that seals and opens everything, in front of any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._security.calling import GuardedCaller, GuardedCallerEvents
from rabibridge_core._security.requests import ReplySealer
from rabibridge_core._security.serving import GuardedEvents, guarded_control
from rabibridge_core.transport import (
    Abandonable,
    Blockable,
    ConnectionCounter,
    ConsumerCounter,
    ControlReceiver,
    Located,
    QueueDeleter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._security.guard import Guard
    from rabibridge_core.transport import (
        BrokerAddress,
        Caller,
        CallerEvents,
        ConnectionState,
        Consumer,
        ConsumerEvents,
        ControlRequest,
        ServiceQueue,
        Transport,
    )

__all__ = ["GuardedTransport"]


class GuardedTransport:
    """Passes everything on to a transport: sealed on its way out, and opened on its way in.

    It has the optional parts of a transport that the other one has.
    """

    def __init__(self, transport: Transport, guard: Guard, codec: Codec) -> None:
        """Guard ``transport``; ``codec`` encodes the failures that are reported to callers."""
        self._inner = transport
        self._guard = guard
        self._codec = codec
        self._sealer = ReplySealer(guard, codec)
        if isinstance(transport, Abandonable):
            self.abandon = transport.abandon
        if isinstance(transport, QueueDeleter):
            self.delete_unused = transport.delete_unused
        if isinstance(transport, ConsumerCounter):
            self.count_consumers = transport.count_consumers
        if isinstance(transport, ConnectionCounter):
            self.connection_counts = transport.connection_counts
        if isinstance(transport, Blockable):
            self.why_blocked = transport.why_blocked
        if isinstance(transport, ControlReceiver):
            self._receive_control = transport.receive_control
            self.receive_control = self._receive_guarded

    async def _receive_guarded(self, key: str, received: Callable[[ControlRequest], None], /) -> None:
        await self._receive_control(key, guarded_control(key, received, self._sealer))

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many messages were refused, by reason."""
        return self._guard.refusals.counts

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._inner.state

    @property
    def last_error(self) -> Exception | None:
        """The last error; ``None`` while ready."""
        return self._inner.last_error

    @property
    def broker_address(self) -> BrokerAddress | None:
        """The broker that it is connected to, if the other transport says it."""
        return self._inner.broker_address if isinstance(self._inner, Located) else None

    @property
    def streams(self) -> bool:
        """Whether it carries streams."""
        return self._inner.streams

    async def connect(self) -> None:
        """Connect."""
        await self._inner.connect()

    async def close(self) -> None:
        """Close permanently."""
        await self._inner.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed permanently."""
        await self._inner.wait_closed()

    async def open_caller(self, events: CallerEvents, /) -> Caller:
        """Prepare to send requests and receive replies."""
        guarded = GuardedCallerEvents(events, self._guard, self._codec)
        return GuardedCaller(await self._inner.open_caller(guarded), self._guard)

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Ensure that the queue exists."""
        await self._inner.declare(queue)

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> Consumer:
        """Declare the queue and receive requests from it."""
        return await self._inner.serve(queue, GuardedEvents(queue, events, self._sealer))

"""A transport without a broker, for tests of the client engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import Caller, CallerEvents, Consumer, ConsumerEvents, Request, ServiceQueue


class ScriptedTransport:
    """A transport and caller in one, where the test plays the broker."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.taken = 0
        """How many of them the test has waited for."""
        self.notified: list[Request] = []
        self.broadcasts: list[Request] = []
        self.fed: list[Request] = []
        self.streams = True
        self.cancelled: list[tuple[str, bytes]] = []
        self.cancelled_before_closing = 0
        self.paused = False
        self.why_paused = ""
        self.unconfirmed: list[bytes] = []
        self.reply_address = b"caller"
        self.looked: list[str] = []
        self.on_look: Callable[[], None] | None = None
        self.looking = asyncio.Event()
        self.looking.set()
        self.queue_state: tuple[int, int] | None = None
        self.fails: Exception | None = None
        self.unusable: Exception | None = None
        self.sending: Callable[[Request], None] | None = None
        self.state = ConnectionState.IDLE
        self.last_error: Exception | None = None
        self.open = asyncio.Event()
        self.connecting = asyncio.Event()
        self.connecting.set()
        self.connects = 0
        self.closes = 0

    async def connect(self) -> None:
        self.connects += 1
        await self.connecting.wait()
        self.state = ConnectionState.READY

    async def close(self) -> None:
        self.closes += 1
        self.cancelled_before_closing = len(self.cancelled)
        self.state = ConnectionState.CLOSED
        self.connecting.set()
        self.open.set()

    async def wait_closed(self) -> None:
        raise NotImplementedError

    async def open_caller(self, events: CallerEvents, /) -> Caller:
        return self

    async def declare(self, queue: ServiceQueue, /) -> None:
        raise NotImplementedError

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> Consumer:
        raise NotImplementedError

    async def writable(self) -> None:
        await self.open.wait()
        if self.state is ConnectionState.CLOSED:
            raise ConnectionLostError("closed", executed=False)
        if self.unusable is not None:
            raise self.unusable
        self.paused = False

    def send(self, request: Request, /) -> None:
        if self.sending is not None:
            self.sending(request)
        if self.fails is not None:
            raise self.fails
        self.sent.append(request)

    def notify(self, request: Request, /) -> None:
        if self.fails is not None:
            raise self.fails
        self.notified.append(request)

    def broadcast(self, request: Request, /) -> None:
        if self.fails is not None:
            raise self.fails
        if self.sending is not None:
            self.sending(request)
        self.broadcasts.append(request)

    def feed(self, request: Request, /) -> None:
        if self.fails is not None:
            raise self.fails
        self.fed.append(request)

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        self.looked.append(queue)
        if self.on_look is not None:
            self.on_look()
        await self.looking.wait()
        return self.queue_state

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        self.cancelled.append((routing_key, correlation_id))

    def pause(self, why: str = "") -> None:
        """Take no requests until :attr:`open` is set."""
        self.open.clear()
        self.paused, self.why_paused = True, why

"""The connection of a memory transport: its state, and what waits for a change of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._memory.alarm import AlarmGate
from rabibridge_testing._memory.receivers import Receivers
from rabibridge_testing._memory.threads import locked, post

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

    from rabibridge_testing._memory.consumer import MemoryConsumer
    from rabibridge_testing._memory.router import Router

__all__ = ["MemoryConnection"]


class MemoryConnection(Receivers):
    """The state of a connection, and whether the broker reads what is sent on it."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, broker: Router[Any], name: str) -> None:
        """Begin without a connection to ``broker``."""
        super().__init__()
        self.broker, self.name, self.address = broker, name, ""
        self._gate = AlarmGate()
        self._last_error: Exception | None = None
        self._ready_or_closed, self._closed, self._unblocked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._state

    @property
    def last_error(self) -> Exception | None:
        """The last error of the connection, ``None`` while it is ready."""
        return self._last_error

    @property
    def lock(self) -> RLock:
        """The lock of the broker."""
        return self.broker.lock

    @property
    def blocked(self) -> bool:
        """Whether the broker has told that it accepts no messages."""
        return self._gate.told

    def why_blocked(self) -> str:
        """Return why the broker accepts no messages; empty: it does, or has not told yet."""
        return f"the broker accepts no messages now: {self.broker.alarm}" if self._gate.told else ""

    @locked
    def act(self, do: Callable[[], None], *, publishes: bool = False) -> None:
        """Do what the broker does when it reads something of this connection: at once, or when an alarm is over.

        Args:
            do: what it does.
            publishes: whether it is a message, which it does not accept during an alarm.
        """
        gate = self._gate
        if publishes and not gate.closed and self.broker.alarm is not None:
            gate.shut()
            post(self.loop, self._alarm_told)
        if gate.closed:
            gate.hold(do)
        else:
            do()

    @locked
    def _resume(self, consumer: MemoryConsumer) -> None:
        """Let a consumer take requests again, from its queue as it is now; an alarm keeps that waiting, too."""
        if self._state is ConnectionState.READY:
            self.act(lambda: self._consume_again(consumer))

    def _consume_again(self, consumer: MemoryConsumer) -> None:
        if consumer.stopped or consumer.live:
            return
        try:
            consumer.start(self.broker.declare(consumer.spec))
        except ConfigurationError as error:
            consumer.error = error

    def _alarm_told(self) -> None:
        if self._gate.closed:
            self._gate.told = True
            self._unblocked.clear()

    async def wait_closed(self) -> None:
        """Wait until the transport is closed."""
        await self._closed.wait()

    async def wait_ready(self) -> None:
        """Wait for a connection.

        Raises:
            ConnectionLostError: the transport was never connected, or is closed; ``executed`` is ``False``.
        """
        self._check_open()
        while self._state is not ConnectionState.READY:
            await self._ready_or_closed.wait()
            self._check_open()

    async def wait_unblocked(self) -> None:
        """Wait until the broker accepts requests again, or the connection is lost."""
        await self._unblocked.wait()

    @locked
    def unblocked(self) -> None:
        """Called when the broker accepts messages again."""
        self._gate.open()
        self._wake(self._unblocked)

    def _wake(self, event: asyncio.Event) -> None:
        """Set an event, which only its own loop may do; a loop that is closed has nobody who waits."""
        loop = getattr(self, "loop", None)
        if loop is None or asyncio._get_running_loop() is loop or loop.is_closed():
            event.set()
        else:
            post(loop, event.set)

    def _check_open(self) -> None:
        if self._state is ConnectionState.IDLE:
            raise ConnectionLostError(f"{self.name} is not connected: await connect() first", executed=False)
        if self._state is ConnectionState.CLOSED:
            raise ConnectionLostError(f"{self.name} is closed: nothing was sent", executed=False)

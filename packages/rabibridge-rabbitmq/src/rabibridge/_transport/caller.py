"""The caller side on RabbitMQ: publishes requests with confirms and receives replies, on one channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge._connection.error_translation import translated
from rabibridge._connection.queue_state import look_at_queue
from rabibridge._connection.topology import declare_exchange, declare_reply_queue
from rabibridge._transport.publish_channel import PublishChannel
from rabibridge._transport.refused_routes import RefusedRoutes
from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge._connection.operations import Operations
    from rabibridge._connection.session import Session
    from rabibridge._transport.publish_channel import Unproven
    from rabibridge_core.transport import CallerEvents, Request

__all__ = ["RabbitCaller"]

_log = get_logger(__name__)
_FIRST_DELAY = 1.0
_MAX_DELAY = 30.0
_LOOKS_AT_ONCE = 4
"""aiormq does not confirm that the broker has closed a channel, as for a queue that does not exist, while 10 or more of
its frames wait to be written: the number of that channel could never be used again."""


class RabbitCaller:
    """Publishes requests to the exchange ``rpc`` and receives the replies from its own reply queue."""

    def __init__(
        self,
        events: CallerEvents,
        reopen: Callable[[RabbitCaller, Session, float], None],
        last_error: Callable[[], Exception | None],
        operations: Operations,
    ) -> None:
        """Prepare to send; :meth:`open` needs a connection.

        Args:
            events: where replies, refusals and losses are reported.
            reopen: called to reopen the caller on the current connection after a delay in seconds.
            last_error: returns why there is no connection.
            operations: those on channels, which complete before the connection is closed.
        """
        self.paused = True
        self.names_user = True
        self.refused_routes = RefusedRoutes()
        self.events = events
        self._reopen = reopen
        self._last_error, self._operations = last_error, operations
        self._channel: PublishChannel | None = None
        self._nameless: list[Unproven] = []
        self._not_paused = asyncio.Event()
        self._closed: ConnectionLostError | None = None
        self._refusal: ConfigurationError | None = None
        self._backoff = Backoff(_FIRST_DELAY, _MAX_DELAY, jitter=0)
        self._looking = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def open(self, session: Session) -> None:
        """Prepare for calls on a new connection, or again on the same.

        Raises:
            ConfigurationError: the broker refuses the reply queue.
            ConnectionLostError: the connection is lost.
        """
        previous = self._channel
        if previous is not None and previous.session is not session:
            self.refused_routes.forget()
        await declare_exchange(session)
        with translated("the channel for calls cannot be opened"):
            async with session.timeout():
                control_channel = await session.open_channel(confirms=True)
                channel = PublishChannel(session, control_channel.number, self)
                reply_to = await declare_reply_queue(control_channel, direct=session.direct_reply)
                if previous is not None and previous.session is session and not session.direct_reply:
                    # Late replies are then returned to the workers, which learn that their caller is gone.
                    await control_channel.queue_delete(previous.reply_to.decode())
        if not channel.open:
            raise session.error or ConnectionLostError("the channel for calls was closed", executed=False)
        channel.start(reply_to)
        self._channel, self._refusal = channel, None
        again, self._nameless = self._nameless, []
        for send, request in again:
            send(channel, request)
        self.update()

    @property
    def why_paused(self) -> str:
        """Why it is paused, as a clause for an error message; empty if it is not."""
        channel = self._channel
        if not self.paused:
            return ""
        if self._closed is not None:
            return str(self._closed)
        if channel is None or not channel.open:
            error = self._last_error()
            return "there is no connection to the broker" + ("" if error is None else f": {error}")
        return channel.session.multiplexer.why_paused

    @property
    def unconfirmed(self) -> Collection[bytes]:
        """Which requests it has not confirmed."""
        again = [request.correlation_id for _, request in self._nameless]
        return again if self._channel is None else (*self._channel.unconfirmed.values(), *again)

    @property
    def reply_address(self) -> bytes:
        """Its reply queue."""
        return b"" if self._channel is None else self._channel.reply_to

    async def writable(self) -> None:
        """Wait until requests can be sent."""
        while self.paused:
            if self._closed is not None:
                raise ConnectionLostError(str(self._closed), executed=False)
            await self._not_paused.wait()

    def send(self, request: Request, /) -> None:
        """Publish the request."""
        channel = self._channel
        if channel is None or not channel.open:
            raise self._no_channel()
        channel.publish(request)

    def notify(self, request: Request, /) -> None:
        """Publish the request without an address for a reply."""
        channel = self._channel
        if channel is None or not channel.open:
            raise self._no_channel()
        channel.notify(request)

    def broadcast(self, request: Request, /) -> None:
        """Publish the request to all workers of the service."""
        channel = self._channel
        if channel is None or not channel.open:
            raise self._no_channel()
        channel.broadcast(request)

    def feed(self, request: Request, /) -> None:
        """Publish a further message of a call to the address of its worker."""
        channel = self._channel
        if channel is None or not channel.open:
            raise self._no_channel()
        channel.feed(request)

    def _no_channel(self) -> ConfigurationError | ConnectionLostError:
        if self._refusal is not None:
            error = ConfigurationError(str(self._refusal))
            error.__cause__ = self._refusal
            return error
        return ConnectionLostError("there is no connection to the broker", executed=False)

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        return await self._operations.complete(self._look(queue))

    async def _look(self, queue: str) -> tuple[int, int] | None:
        async with self._looking:
            if self._channel is None:
                return None
            session = self._channel.session
            return await look_at_queue(session, session.names.queue(queue))

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Publish a cancellation to the workers of the service."""
        channel = self._channel
        if channel is not None and channel.open:
            channel.cancel(routing_key, correlation_id)

    def close(self, error: ConnectionLostError) -> None:
        """Close permanently; waiting calls fail with ``error``."""
        self._closed = error
        if self._channel is not None:
            self._channel.mark_closing()
        self.update()

    def refuse(self, error: ConfigurationError, session: Session, *, proven: bool = False) -> None:
        """Fail all calls with ``error`` for a while, then reopen on the same connection.

        The delay doubles each time, unless the broker has accepted a request in between (``proven``).
        """
        if proven:
            self._backoff.reset()
        self._refusal = error
        self.update()
        self._reopen(self, session, self._backoff.next())

    def reopen(self, session: Session) -> None:
        """Open another channel on the same connection, at once."""
        self._reopen(self, session, 0.0)

    def send_nameless(self, messages: list[Unproven], session: Session) -> None:
        """Open another channel, and send messages there that the broker has not accepted, without naming the user."""
        _log.warning(
            "%s: the broker knows its user by another name; requests do not name it, and services that allow only some "
            "users refuse them", session.endpoint,
            extra=log_fields("connection.user_unknown", peer=session.endpoint),
        )  # fmt: skip
        self.names_user = False
        self._nameless += messages
        self.update()
        self.reopen(session)

    def refuse_unconnected(self, error: ConfigurationError | None) -> None:
        """Fail all calls with ``error`` until there is a connection; ``None``: let them wait for it again."""
        self._refusal = error
        self.update()

    def forget_refusal(self) -> None:
        """Let calls wait again: the connection on which the broker refused them is lost."""
        self._refusal = None
        self.update()

    def update(self) -> None:
        """Update :attr:`paused`; a refused caller is not paused, so that calls fail at once."""
        channel = self._channel
        waits = channel is None or channel.paused
        self.paused = self._closed is not None or (waits and self._refusal is None)
        if self.paused and self._closed is None:
            self._not_paused.clear()
        else:
            self._not_paused.set()

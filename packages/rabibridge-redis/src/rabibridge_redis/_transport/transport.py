"""The Redis transport: one session that is replaced when it is lost, with all its callers and consumers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.background import CloseOnce, TaskSet
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.connection import SupervisedConnection
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionCounts, ConnectionState
from rabibridge_redis._session.log_in import checked_settings
from rabibridge_redis._session.opener import RedisOpener
from rabibridge_redis._transport.blocking import BlockedRequests, accepts_something
from rabibridge_redis._transport.caller import RedisCaller
from rabibridge_redis._transport.consumer import RedisConsumer
from rabibridge_redis._transport.declaration import declare, delete_unused, in_time
from rabibridge_redis._transport.eviction import EvictionCheck
from rabibridge_redis._transport.lease import keep_lease
from rabibridge_redis._transport.replies import Replies

if TYPE_CHECKING:
    from collections.abc import Callable

    import hiredis

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import CallerEvents, ConsumerEvents, ControlRequest, Request, ServiceQueue
    from rabibridge_redis._session.session import Session

__all__ = ["RedisTransport"]

_log = get_logger(__name__)
_AT_ONCE = 32  # one by one, many services on a slow link would outlast the time limit, and the lease
_STOOD_STILL = "this process stood still for too long, or the clock of the server was set forward"


class RedisTransport(Replies):
    """A connection to Redis or Valkey that is made again when it is lost, with all its callers and consumers.

    Attributes:
        name: the name under which the server lists the connection.
        max_message_size: the largest body that is sent, in bytes.
        namespace: the namespace that all names are in; empty: none.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        """Prepare to connect to the endpoints of ``settings``."""
        options = checked_settings(settings)
        super().__init__(name, options.dead_letter_bytes)
        self.namespace = settings.namespace
        self.max_message_size = options.max_message_size
        self._connection = SupervisedConnection(
            RedisOpener(settings, name), settings, name, self._set_up, self._gave_up,
            on_ready=self._ready, on_lost=self._lost, packages=("rabibridge_redis",),
        )  # fmt: skip
        self._blocking = BlockedRequests(name)
        self._eviction = EvictionCheck(name)
        self._tasks = TaskSet()
        self._close_once = CloseOnce()
        self._maintaining: asyncio.Task[None] | None = None
        self._numbers = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.state.value}>"

    @property
    def session(self) -> Session | None:
        """The session; ``None`` while there is none."""
        session = self._connection.session
        return None if session is None or session.error is not None else session

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return ConnectionState.LOST if self._connection.session and not self.session else self._connection.state

    @property
    def last_error(self) -> Exception | None:
        """The last error of the connection; ``None`` while it is ready."""
        session = self._connection.session
        return self._connection.last_error if session is None else session.error

    streams = True
    """Whether it carries streams."""

    @property
    def consumers(self) -> list[RedisConsumer]:
        """Its consumers."""
        return self._consumers

    def connection_counts(self) -> ConnectionCounts:
        """Return what has happened to the connections since the transport was made."""
        return self._connection.counts()._replace(blocked=self._blocking.seconds)

    def why_blocked(self) -> str:
        """Return why the server accepts nothing new for now; empty: it does."""
        return self._blocking.why

    async def connect(self) -> None:
        """Connect, and stay connected from then on."""
        await self._connection.connect()

    async def close(self) -> None:
        """Close permanently. What is unsettled goes back to its queue."""
        await self._close_once(self._close)

    async def _close(self) -> None:
        for consumer in self._consumers:
            consumer.flush()
        await self.finish_late_replies(self.wait_writable)
        if self._maintaining is not None:
            self._maintaining.cancel()
        await self._connection.close()
        self._end(ConnectionLostError(f"{self.name} is closed"))
        for task in list(self._tasks):
            task.cancel()

    def _end(self, error: ConnectionLostError) -> None:
        callers, consumers = list(self._callers), [one for one in self._consumers if one.busy or one.interrupted]
        for consumer in self._consumers:
            consumer.disconnect(for_good=True)
        self._callers.clear()
        self._consumers.clear()
        self._blocking.end()
        for caller in callers:
            if caller.unconfirmed:
                caller.lost(error)
        for consumer in consumers:
            consumer.lost(error)

    def abandon(self) -> None:
        """Close permanently, without an event loop and without telling anybody."""
        self._connection.abandon()
        self._callers.clear()
        self._consumers.clear()

    async def wait_closed(self) -> None:
        """Wait until it is closed; raise the error that closed it, unless :meth:`close` did."""
        await self._connection.wait_closed()

    def abort(self, reason: str = "aborted on request") -> None:
        """Cut the connection, as a failure of the network would."""
        if self._connection.session is not None:
            self._connection.session.fail(ConnectionLostError(reason))

    async def open_caller(self, events: CallerEvents, /) -> RedisCaller:
        """Prepare to send requests and receive replies."""
        await self._connection.ready_in_time()
        self._numbers += 1
        caller = RedisCaller(self, events, self._numbers)
        self._callers.append(caller)
        return caller

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Declare a queue and its routing keys."""
        await declare(await self._connection.ready_in_time(), queue)

    async def delete_unused(self, queue: ServiceQueue, /) -> bool:
        """Delete a queue unless it has consumers or waiting requests; return whether it is gone."""
        return await delete_unused(await self._connection.ready_in_time(), queue)

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> RedisConsumer:
        """Declare a queue and take requests from it."""
        if self.state in (ConnectionState.IDLE, ConnectionState.CONNECTING, ConnectionState.CLOSED):
            await self._connection.ready()
        self._numbers += 1
        consumer = RedisConsumer(self, queue, events, self._numbers)
        self._consumers.append(consumer)
        session = self.session
        if session is None:
            return consumer  # the next session opens it
        try:
            await self._open(consumer, session)
        except ConnectionLostError:
            if self.state is ConnectionState.CLOSED:
                raise
        except BaseException:
            self.forget(consumer)
            raise
        return consumer

    async def receive_control(self, key: str, received: Callable[[ControlRequest], None], /) -> None:
        """Receive control requests, on this session and on all that follow."""
        if self.state in (ConnectionState.IDLE, ConnectionState.CONNECTING, ConnectionState.CLOSED):
            await self._connection.ready()
        self._control = key, received
        if (session := self.session) is not None:
            with suppress(ConnectionLostError):  # the next session does it
                await session.listener.subscribe(session.channel("b", key))

    async def _set_up(self, session: Session) -> None:
        """Open everything on a new session."""
        await in_time(session, self._open_all(session))

    async def _open_all(self, session: Session) -> None:
        session.receive(self._pushed, self._arrived, self._disconnect)
        last, self._newest = self._newest, session
        if last is not None:  # what it has taken goes to others at once
            await session.end_other(last.token, *(one.spec.name for one in self._consumers))
        if self._control is not None:
            await session.listener.subscribe(session.channel("b", self._control[0]))
        opening = [consumer for consumer in self._consumers if not consumer.stopped]
        for first in range(0, len(opening), _AT_ONCE):
            some = (self._open_or_report(consumer, session) for consumer in opening[first : first + _AT_ONCE])
            await asyncio.gather(*some)

    def _ready(self, _session: Session) -> None:
        """Called when a session that is set up counts as ready."""
        for caller in self._callers:
            caller.connected()
        self.send_late_replies()
        if self._maintaining is None or self._maintaining.done():
            self._maintaining = self._tasks.spawn(keep_lease(self), name=f"{self.name}-lease")

    async def _open(self, consumer: RedisConsumer, session: Session) -> None:
        self._eviction.look(session)
        await declare(session, consumer.spec)
        keys = consumer.spec.routing_keys
        await session.listener.subscribe(*(session.channel(kind, key) for kind in "bx" for key in keys))
        if not consumer.stopped:
            consumer.start(session)

    def _disconnect(self) -> None:
        """Called at the moment at which a session is lost: what is in hand is void."""
        self._void(None if self._connection.session is self._newest else self._newest)

    def _lost(self, session: Session, error: ConnectionLostError) -> None:
        consumers = list(self._consumers)
        self._consumers = [one for one in self._consumers if not one.stopped or one.answering]
        self._blocking.end()
        for caller in list(self._callers):
            caller.lost(error)
        for consumer in consumers:
            consumer.lost(error)

    def _gave_up(self, error: Exception) -> None:
        self._end(ConnectionLostError(str(error)))

    async def wait_writable(self) -> None:
        """Wait for a session on which requests can be sent.

        Raises:
            ConnectionLostError: it is closed; ``executed`` is ``False``.
        """
        while True:
            session = await self._connection.ready()
            if session.error is not None:  # the supervisor has not noticed yet
                await asyncio.sleep(0)
            elif session.commands.paused:
                await session.commands.drained()
            elif self._blocking.why:
                await self._blocking.over()
            else:
                return

    def hold(self, caller: RedisCaller, request: Request, wants_reply: bool, error: hiredis.ReplyError, /) -> None:
        """Send a request again once the server accepts new ones."""
        if self._blocking.hold(caller, request, wants_reply, f"the Redis server accepts nothing new: {error}"):
            trying = self._blocking.try_again(lambda: accepts_something(self.session))
            self._tasks.spawn(trying, name=f"{self.name}-blocked")

    def queue_gone(self, consumer: RedisConsumer, /) -> None:
        """Called when the queue of a consumer was deleted: declare it again."""
        session = self.session
        if session is not None and consumer.session is session:
            consumer.queue_deleted()
            consumer.session = None
            if not consumer.stopped:  # else calls would wait there for nobody
                self._tasks.spawn(self._open_again(consumer, session), name=f"{self.name}-declare")

    async def _open_again(self, consumer: RedisConsumer, session: Session) -> None:
        with suppress(ConnectionLostError):  # the next session opens it
            await self._open_or_report(consumer, session)

    async def _open_or_report(self, consumer: RedisConsumer, session: Session) -> None:
        try:
            await self._open(consumer, session)
        except ConfigurationError as error:
            consumer.error = error
            extra = log_fields("queue.refused", instance=self.name, queue=consumer.spec.name, error=error)
            _log.error("%s: %s", self.name, error, extra=extra)

    def lease_ended(self, why: str = _STOOD_STILL) -> None:
        """Called when others may have taken over what this session holds: begin another one."""
        self.abort(f"the lease of the connection has ended: {why}")

    def forget(self, consumer: RedisConsumer, /) -> None:
        """Drop a consumer that is stopped and has nothing unsettled."""
        if consumer not in self._consumers:
            return
        self._consumers.remove(consumer)
        if (session := self.session) is not None:
            used = {key for one in self._consumers for key in one.spec.routing_keys}
            if unused := [key for key in consumer.spec.routing_keys if key not in used]:
                session.listener.unsubscribe(*(session.channel("x", key) for key in unused))

"""The RabbitMQ transport: aio-pika and aiormq for what is rare, lanes for every call."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiormq.exceptions import ChannelNotFoundEntity

from rabibridge._connection.supervisor import SupervisedConnection
from rabibridge._connection.topology import declare_queue
from rabibridge._transport.caller import RabbitCaller
from rabibridge._transport.consumer import RabbitConsumer
from rabibridge._transport.worker_session import WorkerSession
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rabibridge._connection.session import Session
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import CallerEvents, ConsumerEvents, ServiceQueue

__all__ = ["RabbitMQTransport"]

_log = logging.getLogger(__name__)
_END_TIMEOUT = 2.0
_TRY_AGAIN = 2.0
"""How long to wait before asking again for a queue that is not there for the moment, in seconds."""


class RabbitMQTransport:
    """One connection to RabbitMQ that comes back by itself, with everything that was on it."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Connect to the endpoints of ``settings`` later; ``name`` is how the broker lists the connection."""
        self._connection = SupervisedConnection(settings, name, self._set_up, self._gave_up)
        self._callers: list[RabbitCaller] = []
        self._consumers: list[RabbitConsumer] = []
        self._serving: WorkerSession | None = None
        self._mending: set[asyncio.Task[Any]] = set()
        self._changing = asyncio.Lock()
        self._ending = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._connect_timeout = settings.connect_timeout

    def __repr__(self) -> str:
        """Show the state."""
        return f"<{type(self).__name__} {self._connection.name!r} {self.state.value}>"

    @property
    def state(self) -> ConnectionState:
        """Where it stands."""
        return ConnectionState.LOST if self._fresh_loss() else self._connection.state

    @property
    def last_error(self) -> Exception | None:
        """What went wrong last, ``None`` while ready."""
        return self._fresh_loss() or self._connection.last_error

    def _fresh_loss(self) -> ConnectionLostError | None:
        """Return the loss of a connection that is noticed and not attended to yet."""
        session = self._connection.session
        return session.error if session is not None and self._connection.state is ConnectionState.READY else None

    async def connect(self) -> None:
        """Connect, and stay connected from then on."""
        await self._connection.connect()

    async def close(self) -> None:
        """Close for good. It goes on to its end whoever stops waiting for it."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._close_callers(ConnectionLostError(f"{self._connection.name} is closed", executed=False))
        self._ending.set()
        for timeout in (_END_TIMEOUT, None):  # what is begun may end, since aiormq closes the channel of what is not
            if self._mending:
                await asyncio.wait(self._mending, timeout=timeout)
            for task in self._mending:
                task.cancel()
        if self._serving is not None:
            await self._serving.parking.drained()
        for consumer in self._consumers:
            await consumer.released()
        await self._connection.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed; raise what closed it, where that was not :meth:`close`."""
        await self._connection.wait_closed()

    def abort(self, reason: str = "aborted on request") -> None:
        """Cut the connection at once, as a broken network would; it comes back by itself."""
        if self._connection.session is not None:
            self._connection.session.fail(ConnectionLostError(reason))

    async def open_caller(self, events: CallerEvents, /) -> RabbitCaller:
        """Make ready to call."""
        caller = RabbitCaller(events, self._mend_caller, lambda: self.last_error)
        await self._with_session(lambda session: self._add_caller(caller, session))
        return caller

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Declare and bind a service queue."""
        await self._with_session(lambda session: declare_queue(session, queue))

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> RabbitConsumer:
        """Declare a service queue and take its requests."""
        consumer = RabbitConsumer(queue, events, self._mend)
        self._consumers = [known for known in self._consumers if not known.over] + [consumer]
        if self._is_lost():
            return consumer  # the next connection opens it
        try:
            await self._with_session(lambda session: self._open_consumer(consumer, session))
        except ConfigurationError:
            self._consumers.remove(consumer)
            raise
        except ConnectionLostError:
            if not self._is_lost():
                raise
        except asyncio.CancelledError:
            self._keep(asyncio.get_running_loop().create_task(consumer.stop()))
            raise
        return consumer

    def _is_lost(self) -> bool:
        return self.state is ConnectionState.LOST

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def _add_caller(self, caller: RabbitCaller, session: Session) -> None:
        async with self._changing:
            await caller.open(session)
            self._callers.append(caller)

    async def _open_consumer(self, consumer: RabbitConsumer, session: Session) -> None:
        async with self._changing:
            await consumer.open(self._serving_on(session))

    def _serving_on(self, session: Session) -> WorkerSession:
        if self._serving is None or self._serving.session is not session:
            self._serving = WorkerSession(session, self._connection.name, lambda: list(self._consumers))
        return self._serving

    async def _with_session(self, work: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
        """Run an operation on the connection, and again on the next one if that is lost in between.

        It runs to its end whoever stops waiting for it, because aiormq closes the channel of an abandoned one.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._connect_timeout
        while True:
            try:
                async with asyncio.timeout_at(give_up):
                    session = await self._connection.ready()
            except TimeoutError:
                name, why = self._connection.name, self.last_error
                raise ConnectionLostError(f"{name} has no connection: {why}", executed=False) from why
            task = loop.create_task(work(session))
            self._keep(task)
            try:
                return await asyncio.shield(task)
            except ConnectionLostError:
                if session.error is None or loop.time() >= give_up:
                    raise
            except asyncio.CancelledError:
                if not task.cancelled() or self._closing is None:
                    raise
                raise ConnectionLostError(f"{self._connection.name} was closed", executed=False) from None

    def _close_callers(self, error: ConnectionLostError) -> None:
        for caller in self._callers:
            caller.close(error)

    def _gave_up(self, cause: Exception) -> None:
        error = ConnectionLostError(f"{self._connection.name} has given up: {cause}", executed=False)
        error.__cause__ = cause
        self._close_callers(error)

    async def _set_up(self, session: Session) -> None:
        """Bring everything back on a new connection; what the broker refuses stays down alone."""
        async with self._changing:
            for consumer in self._consumers:
                if _for_the_moment(consumer.error):
                    consumer.error = None
            for caller in self._callers:
                await caller.open(session)
            while waiting := [one for one in self._consumers if not (one.live or one.stopped or one.error)]:
                for consumer in waiting:
                    await self._open(consumer, session)

    async def _open(self, consumer: RabbitConsumer, session: Session) -> None:
        again = _for_the_moment(consumer.error)
        try:
            await consumer.open(self._serving_on(session))
        except ConfigurationError as error:
            if not _for_the_moment(error):
                self._give_up(consumer, error)
                return
            # The node that holds the queue is down, or somebody has deleted it since it was declared.
            consumer.error = error
            session.exchange_declared = False
            if not again:
                _log.error("%s: %s; trying again", self._connection.name, error)
            self._keep(asyncio.get_running_loop().create_task(self._reopen(consumer, session, _TRY_AGAIN)))

    def _give_up(self, consumer: RabbitConsumer, error: ConfigurationError) -> None:
        consumer.error = error
        _log.error("%s: %s; this service stays down, the others go on", self._connection.name, error)

    def _mend(self, consumer: RabbitConsumer, error: ConnectionLostError | ConfigurationError) -> None:
        """Open a consumer anew whose channel or queue went while the connection stands."""
        if isinstance(error, ConfigurationError):
            self._give_up(consumer, error)
            return
        session = self._connection.session
        if self._closing is not None or session is None or session.error is not None:
            return  # the next connection sets everything up
        name, queue, back_off = self._connection.name, consumer.queue.name, consumer.back_off()
        _log.warning("%s: %r is not served now: %s; declaring it anew in %.2f s", name, queue, error, back_off)
        task = asyncio.get_running_loop().create_task(self._reopen(consumer, session, back_off))
        self._keep(task)

    async def _reopen(self, consumer: RabbitConsumer, session: Session, back_off: float) -> None:
        await self._pause(session, back_off)
        async with self._changing:
            if session.error is not None or self._closing is not None:
                return
            try:
                await self._open(consumer, session)
            except Exception as error:  # noqa: BLE001 - whatever it is, a new connection starts clean
                if not isinstance(error, ConnectionLostError):
                    _log.exception("%s: %r cannot be served", self._connection.name, consumer.queue.name)
                    error = ConnectionLostError(f"{consumer.queue.name!r} cannot be served: {error}")
                session.fail(error)  # without effect if it is lost already

    async def _pause(self, session: Session, seconds: float) -> None:
        """Wait, but not for a connection that is lost or about to be closed."""
        over = [asyncio.ensure_future(event.wait()) for event in (session.lost, self._ending)]
        try:
            await asyncio.wait(over, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in over:
                waiting.cancel()

    def _mend_caller(self, caller: RabbitCaller, session: Session, back_off: float) -> None:
        """Open the channel of a caller anew after the broker has refused what it sent."""
        if self._closing is None and session.error is None:
            self._keep(asyncio.get_running_loop().create_task(self._reopen_caller(caller, session, back_off)))

    async def _reopen_caller(self, caller: RabbitCaller, session: Session, back_off: float) -> None:
        await self._pause(session, back_off)
        if session.error is not None:
            caller.forget_refusal()  # the next connection opens it
        async with self._changing:
            if session.error is not None or self._closing is not None:
                return
            try:
                await caller.open(session)
            except ConfigurationError as error:
                caller.refuse(error, session)
            except Exception as error:  # noqa: BLE001 - whatever it is, a new connection starts clean
                if not isinstance(error, ConnectionLostError):
                    _log.exception("%s: the channel for calls cannot be opened", self._connection.name)
                session.fail(ConnectionLostError(f"the channel for calls cannot be opened: {error}"))


def _for_the_moment(error: Exception | None) -> bool:
    """Tell whether what the broker refuses may come back: it says that something is not there."""
    return error is not None and isinstance(error.__cause__, ChannelNotFoundEntity)

"""Sends replies for which the broker may close the channel or the connection, where that harms nothing else.

There are two kinds. The broker closes the channel for a reply that is larger than it accepts (``max_message_size``),
and only then says what its limit is. RabbitMQ before 4.2 closes the connection for a reply to a direct reply-to address
of a node that does not belong to the cluster, or no longer. Either would cost a worker all requests of that channel or
connection. So the first reply of a new size, or to a new node, is sent here, one at a time: on a channel or a
connection of its own. What the broker has accepted once is not tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rabibridge._amqp.frames import content
from rabibridge._amqp.methods import publish_method
from rabibridge._connection.channel_closing import close_channel
from rabibridge._connection.error_translation import translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._transport.interfaces import ReplyUnsentError
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.republish import OutgoingMessage

__all__ = ["ReplyTrials"]

_log = get_logger(__name__)
_WAITING_MAX = 100
_WAITING_SIZE_MAX = 64 * 2**20
"""Maximum size of the replies that wait, in bytes. Both apply only while replies are refused: those may come by the
hundred, and their requests are settled at once. As long as none is, each keeps the place of its request, so that no
more wait than the services of the worker process at a time."""
_CONFIRM_TIMEOUT = 30.0
_PATIENCE = 30.0
"""How long a reply is tried in seconds, while it fails for a reason that is none of its own."""
_FIRST_DELAY = 0.05
_MAX_DELAY = 0.25


class _TrialChannel(FastChannel):
    """Publishes one message at a time and reports what the broker says about it."""

    def __init__(self, session: Session, channel: int) -> None:
        super().__init__(session.multiplexer, channel, session.max_payload, 0)
        self._session = session
        self._outcome: asyncio.Future[None] | None = None

    @property
    def refused(self) -> bool:
        """Whether the broker has closed the channel or the connection, and said why."""
        return bool(self.close_code or self._session.multiplexer.close_code)

    async def publish(self, message: OutgoingMessage) -> None:
        """Publish a message and wait for the confirm.

        Raises:
            ConnectionLostError: the broker has closed the channel or the connection, or does not answer.
        """
        if not self.open:
            raise ConnectionLostError("the channel is closed")
        self._outcome = asyncio.get_running_loop().create_future()
        method = publish_method(self.number, b"", message.queue, mandatory=message.mandatory)
        self.write(content(self.number, method, message.flags, message.properties, message.body, self.max_payload))
        try:
            async with asyncio.timeout(_CONFIRM_TIMEOUT):
                await self._outcome
        except TimeoutError:
            raise ConnectionLostError(f"the broker did not confirm it within {_CONFIRM_TIMEOUT:g} s") from None

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        # A negative confirm comes from a full reply queue, where the reply is lost however it is sent.
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        _log.debug("a caller is gone: its queue %r does not exist", key, extra=log_fields("reply.caller_gone"))

    def closed(self, error: ConnectionLostError) -> None:
        self._session.learn_max_message(self.close_code, self.close_text)
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_exception(error)


class ReplyTrials:
    """Sends replies one after the other; what the broker closes for one of them affects no other."""

    def __init__(self, session: Session, name: str, *, apart: bool) -> None:
        """Send on a channel of ``session`` or, if ``apart``, on a connection of its own to the same broker.

        Args:
            session: the connection of the worker.
            name: the name of the worker's connection, which the other one extends.
            apart: whether the broker may close the connection, and not just the channel.
        """
        self._session = session
        self._name = name
        self._apart = apart
        self._waiting: deque[OutgoingMessage] = deque()
        self._waiting_size = 0
        self._tasks = TaskSet()
        self._backoff = Backoff(_FIRST_DELAY, _MAX_DELAY, immediate=True, jitter=0)
        self._tried_since = 0.0  # the last success, or the beginning of the first try
        self._closed = False
        self._running = False
        self.refused = False
        """Whether the broker has refused the last reply."""

    def send(self, message: OutgoingMessage) -> None:
        """Send a reply later and call its ``done``: with ``None``, or with the error that it was not sent for.

        If no connection can be opened for it, or it is lost without a word of the broker, the reply is tried for 30
        seconds, and again on the next connection. Its caller knows a second copy by the id of the call.
        """
        if self._closed:
            message.done(self._unsent())
            return
        if self.refused and (len(self._waiting) >= _WAITING_MAX or self._waiting_size > _WAITING_SIZE_MAX):
            message.done(ConnectionLostError(f"{len(self._waiting)} such replies wait already"))
            return
        self._waiting.append(message)
        self._waiting_size += len(message.body)
        if not self._running:
            self._running = True
            self._tasks.spawn(self._run())

    async def drain(self, seconds: float) -> None:
        """Wait until no reply waits, at most for this time and not if they are refused; then send nothing more."""
        if self._tasks and not self.refused:
            await asyncio.wait(self._tasks, timeout=seconds)
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self) -> None:
        self._tried_since = asyncio.get_running_loop().time()
        try:
            while self._waiting:
                await self._send_waiting()
        finally:
            self._running = False
            while self._waiting:
                self._take().done(self._unsent())

    def _unsent(self) -> ReplyUnsentError:
        return ReplyUnsentError(f"{self._name} is closed")

    def _take(self) -> OutgoingMessage:
        message = self._waiting.popleft()
        self._waiting_size -= len(message.body)
        return message

    async def _send_waiting(self) -> None:
        """Send until the broker closes the channel, or nothing waits."""
        message: OutgoingMessage | None = None
        channel: _TrialChannel | None = None
        try:
            async with self._channel() as channel:
                while self._waiting:
                    message = self._take()
                    await channel.publish(message)
                    message.done(None)
                    message = None
                    self._succeeded()
        except RabiBridgeError as error:
            if message is not None:
                self._waiting.appendleft(message)
                self._waiting_size += len(message.body)
                message = None
            if self._waiting:  # else only closing the channel has failed
                self.refused = isinstance(error, ConfigurationError) or (channel is not None and channel.refused)
                if self.refused or not self._may_try_again():
                    self._take().done(error)
            if self._waiting:
                await asyncio.sleep(self._backoff.next())
        except BaseException:
            if message is not None:
                message.done(self._unsent())
            raise

    def _succeeded(self) -> None:
        self.refused = False
        self._backoff.reset()
        self._tried_since = asyncio.get_running_loop().time()

    def _may_try_again(self) -> bool:
        """Tell whether the first reply that waits, which the broker has not refused, is to be tried again."""
        tried = asyncio.get_running_loop().time() - self._tried_since
        return self._session.error is None and tried < _PATIENCE

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[_TrialChannel]:
        session = await self._session.open_another(f"{self._name} (replies)") if self._apart else self._session
        try:
            with translated("the channel for a reply cannot be opened"):
                async with session.timeout():
                    control_channel = await session.open_channel(confirms=True)
            channel = _TrialChannel(session, control_channel.number)
            try:
                yield channel
            finally:
                channel.mark_closing()
                if not self._apart and not control_channel.is_closed and session.error is None:
                    with translated("the channel for a reply cannot be closed"):
                        async with session.timeout():
                            await close_channel(control_channel)
                channel.detach()
        finally:
            if self._apart:
                await session.close()

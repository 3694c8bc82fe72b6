"""Publishes messages that must not be lost, with publisher confirms: counted copies of requests, and dead letters.

The original request is acknowledged only once the broker has confirmed its copy. Confirms need a channel of their own,
which is opened for the first message and shared by all services on a connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge._amqp.frames import FrameError, content
from rabibridge._amqp.methods import ACCESS_REFUSED, publish_method
from rabibridge._connection.error_translation import permission_error, translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.topology import declare_dead_letters
from rabibridge._transport.republish import OutgoingMessage, counted_copy, dead_letter
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.incoming import RabbitRequest
    from rabibridge._transport.interfaces import Done
    from rabibridge._transport.letter_shares import LetterShares
    from rabibridge_core.transport import Headers, ServiceQueue

__all__ = ["ConfirmedPublisher"]

_log = get_logger(__name__)
_ALL_QUEUES = b""
_RETRY_AFTER = 30.0
"""After a refusal, messages are not published for this many seconds: invalid requests may arrive by the thousand."""
_DRAIN_TIMEOUT = 5.0


class _ConfirmChannel(FastChannel):
    """Publishes to the default exchange and matches publisher confirms."""

    def __init__(
        self, session: Session, channel: int, on_failed: Callable[[list[OutgoingMessage], Exception, int], None]
    ) -> None:
        super().__init__(session.multiplexer, channel, session.max_payload, session.max_body)
        self._pending: dict[int, OutgoingMessage] = {}
        self._published = 0
        self._session = session
        self._on_failed = on_failed

    def publish(self, message: OutgoingMessage) -> None:
        self._published += 1
        self._pending[self._published] = message
        method = publish_method(self.number, b"", message.queue, mandatory=True)
        self.write(content(self.number, method, message.flags, message.properties, message.body, self.max_payload))

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        messages = [self._pending.pop(pending_tag) for pending_tag in self._confirmed_tags(tag, multiple)]
        if accepted:
            for message in messages:
                message.done(None)
        else:
            self._on_failed(messages, ConnectionLostError("the broker refused the message: the queue is full"), 0)

    def _confirmed_tags(self, tag: int, multiple: bool) -> list[int]:
        if multiple:
            return [pending_tag for pending_tag in self._pending if pending_tag <= tag]
        return [tag] if tag in self._pending else []  # a returned message is confirmed as well

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        # A returned message carries no delivery tag. But if the queue does not exist, it holds none of the messages.
        tags = [tag for tag, message in self._pending.items() if message.queue == key]
        messages = [self._pending.pop(tag) for tag in tags]
        self._on_failed(messages, ConnectionLostError(f"the queue does not exist: {code} {text}"), code)

    def closed(self, error: ConnectionLostError) -> None:
        if self.user_id_refused:
            self._session.user_id = b""
        messages = list(self._pending.values())
        self._pending.clear()
        self._on_failed(messages, error, self.close_code)


class ConfirmedPublisher:
    """Publishes messages to queues on one connection and reports when the broker has confirmed them."""

    def __init__(self, session: Session, name: str, letters: LetterShares) -> None:
        """Publish on a connection that the broker lists under ``name``; ``letters`` bounds the dead letters."""
        self._letters = letters
        self._session = session
        self._dead_letters = session.names.dead_letters.encode()
        self._name = name
        self._channel: _ConfirmChannel | None = None
        self._waiting: list[OutgoingMessage] = []  # for the channel, or for the dead-letter queue to be declared
        self._opening: asyncio.Task[None] | None = None
        self._declared = False
        self._refusals: dict[bytes, tuple[float, Exception]] = {}  # by queue: until when not to publish, and why
        self._limited = LimitedLog(_log)
        self._closed = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def publish_counted(self, request: RabbitRequest, queue: ServiceQueue, vouched: Headers, done: Done) -> None:
        """Publish a copy of a request, with its delivery count and the headers ``vouched``, to its queue.

        ``done`` is called with the outcome, unless the connection is lost.
        """
        try:
            message = counted_copy(request, queue, vouched, self._session, done)
        except FrameError as error:
            done(error)
        else:
            self._start(message)

    def dead_letter(self, request: RabbitRequest, queue: ServiceQueue, reason: str, done: Done) -> None:
        """Publish a request to the dead-letter queue; ``done`` as for :meth:`publish_counted`.

        If its sender has used up its share of dead letters, it is dropped.
        """
        if not self._letters.admit(request.user, request.caller, queue.name, len(request.body)):
            done(None)
            return

        def log_and_finish(refusal: Exception | None) -> None:
            if refusal is not None:
                self._limited.log(
                    f"{self._name}: a request that cannot be dead-lettered is dropped", logging.ERROR,
                    "%s: cannot dead-letter a request of %r (%s) to queue %r; it is dropped: %s",
                    self._name, queue.name, reason, self._dead_letters.decode(), refusal,
                    extra=log_fields("letter.dropped", instance=self._name, queue=queue.name, error=refusal),
                )  # fmt: skip
            done(refusal)

        self._start(dead_letter(request, queue, reason, self._name, self._session, log_and_finish))

    async def drain(self) -> None:
        """Wait a few seconds at most until no message is in flight, then publish nothing more."""
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                await self._idle.wait()
        except TimeoutError:
            _log.warning(
                "%s: the broker has not confirmed %d republished messages", self._name, self._in_flight,
                extra=log_fields("republish.unconfirmed", instance=self._name, count=self._in_flight),
            )  # fmt: skip
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))

    def _start(self, message: OutgoingMessage) -> None:
        if self._session.error is None and not self._closed:
            self._in_flight += 1
            self._idle.clear()
            self._publish(message._replace(done=self._tracked(message.done)))

    def _tracked(self, done: Done) -> Done:
        def finish(refusal: Exception | None) -> None:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
            done(refusal)

        return finish

    def _publish(self, message: OutgoingMessage) -> None:
        channel, now = self._channel, asyncio.get_running_loop().time()
        for queue in (_ALL_QUEUES, message.queue):
            until, refusal = self._refusals.get(queue, (0.0, None))
            if until > now:
                message.done(refusal)
                return
        if channel is not None and channel.open and (self._declared or message.queue != self._dead_letters):
            channel.publish(message)
            return
        self._waiting.append(message)
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        queue = _ALL_QUEUES
        try:
            if not self._declared and any(message.queue == self._dead_letters for message in self._waiting):
                queue = self._dead_letters
                await declare_dead_letters(self._session)
                self._declared, queue = True, _ALL_QUEUES
            if self._channel is None or not self._channel.open:
                with translated("the channel for republished messages cannot be opened"):
                    async with self._session.timeout():
                        control_channel = await self._session.open_channel(confirms=True)
                        self._channel = _ConfirmChannel(self._session, control_channel.number, self._on_failed)
        except (ConfigurationError, ConnectionLostError) as error:
            self._suspend(queue, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, a new connection starts clean
            _log.exception(
                "%s: cannot republish messages", self._name, extra=log_fields("republish.failed", instance=self._name)
            )
            self._session.fail(ConnectionLostError(f"cannot republish messages: {error}"))
        finally:
            self._opening = None
        waiting, self._waiting = self._waiting, []
        if self._session.error is not None:
            self._idle.set()  # the broker redelivers the requests
            return
        for message in waiting:
            self._publish(message)

    def _on_failed(self, messages: list[OutgoingMessage], error: Exception, code: int) -> None:
        """Called when messages are not in their queue; ``code`` is the reply code, 0 for a negative confirm."""
        if self._session.error is not None:
            self._idle.set()
            return
        if code == ACCESS_REFUSED:
            error = permission_error(self._session.endpoint, "amq.default", "every dead letter and every reply", error)
            self._suspend(_ALL_QUEUES, error)
        for message in messages:
            if message.queue == self._dead_letters and code not in (0, ACCESS_REFUSED) and not message.retried:
                self._declared = False
                self._publish(message._replace(retried=True))
            else:
                message.done(error)

    def _suspend(self, queue: bytes, error: Exception) -> None:
        self._refusals[queue] = asyncio.get_running_loop().time() + _RETRY_AFTER, error

"""Messages that a worker publishes to be kept: counted copies of requests, and dead letters.

They need confirms, since the request that they stand for is acknowledged only once the broker has them. So they have a
channel of their own, opened when the first one is sent, which all services on a connection share.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge._amqp.frames import FrameError, content, publish_method
from rabibridge._connection.error_translation import permission_error, translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.topology import DEAD_LETTERS, declare_dead_letters
from rabibridge._transport.republish import OutgoingMessage, counted_copy, dead_letter
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._amqp.frames import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.incoming import RabbitRequest
    from rabibridge._transport.republish import Done
    from rabibridge_core.transport import ServiceQueue

__all__ = ["ConfirmedPublisher"]

_log = logging.getLogger(__name__)
_ACCESS_REFUSED = 403
_EVERYTHING = b""
_TRY_AGAIN = 30.0
"""How long what the broker has refused is not tried again, in seconds: garbage may come by the thousand."""
_DRAIN_TIMEOUT = 5.0


class _ConfirmChannel(FastChannel):
    """Publishes by the default exchange, with confirms."""

    def __init__(
        self, session: Session, channel: int, ended: Callable[[list[OutgoingMessage], Exception, int], None]
    ) -> None:
        super().__init__(session.tap, channel, session.max_payload, session.max_body)
        self._pending: dict[int, OutgoingMessage] = {}
        self._published = 0
        self._ended = ended

    def publish(self, parcel: OutgoingMessage) -> None:
        self._published += 1
        self._pending[self._published] = parcel
        method = publish_method(self.number, b"", parcel.queue, mandatory=True)
        self.write(content(self.number, method, parcel.flags, parcel.properties, parcel.body, self.max_payload))

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        parcels = [self._pending.pop(one) for one in self._tags(tag, multiple)]
        if accepted:
            for parcel in parcels:
                parcel.done(None)
        else:
            self._ended(parcels, ConnectionLostError("the broker did not take it: the queue is full"), 0)

    def _tags(self, tag: int, multiple: bool) -> list[int]:
        if multiple:
            return [one for one in self._pending if one <= tag]
        return [tag] if tag in self._pending else []  # what was returned is confirmed too

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        # A return does not tell which one it is. But where there is no queue, none of them is in it.
        tags = [tag for tag, parcel in self._pending.items() if parcel.queue == key]
        parcels = [self._pending.pop(tag) for tag in tags]
        self._ended(parcels, ConnectionLostError(f"there is no such queue: {code} {text}"), code)

    def closed(self, error: ConnectionLostError) -> None:
        parcels = list(self._pending.values())
        self._pending.clear()
        self._ended(parcels, error, self.close_code)


class ConfirmedPublisher:
    """Brings messages into queues and tells when they are there, on one connection."""

    def __init__(self, session: Session, name: str) -> None:
        """Publish on a connection that the broker lists as ``name``."""
        self._session = session
        self._name = name
        self._lane: _ConfirmChannel | None = None
        self._waiting: list[OutgoingMessage] = []  # for the channel, or for the dead-letter queue
        self._opening: asyncio.Task[None] | None = None
        self._declared = False
        self._refusals: dict[bytes, tuple[float, Exception]] = {}  # by queue: until when nothing is tried, and why
        self._reported = False
        self._over = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def count(self, request: RabbitRequest, queue: ServiceQueue, done: Done) -> None:
        """Put a copy of a request into its queue that carries how often it was given to a worker.

        ``done`` is told, unless the connection is lost: ``None`` once it is there, else why it is not.
        """
        try:
            parcel = counted_copy(request, queue, self._session, done)
        except FrameError as error:
            done(error)
        else:
            self._begin(parcel)

    def dead_letter(self, request: RabbitRequest, queue: ServiceQueue, reason: str, done: Done) -> None:
        """Put a request into the dead-letter queue; ``done`` as for :meth:`count`."""

        def put_aside(refusal: Exception | None) -> None:
            if refusal is not None and not self._reported:
                self._reported = True
                _log.error(
                    "%s: a request of %r (%s) cannot be kept in the queue %r and is dropped, as are all others for "
                    "which there is no word from now on: %s",
                    self._name, queue.name, reason, DEAD_LETTERS.decode(), refusal,
                )  # fmt: skip
            done(refusal)

        self._begin(dead_letter(request, queue, reason, self._name, self._session, put_aside))

    async def drained(self) -> None:
        """Wait, for a few seconds at most, until nothing is under way; then nothing is begun any more."""
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%s: the broker has not confirmed %d messages to be kept", self._name, self._under_way)
        self._over = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))

    def _begin(self, parcel: OutgoingMessage) -> None:
        if self._session.error is None and not self._over:
            self._under_way += 1
            self._idle.clear()
            self._put(parcel._replace(done=self._counted_down(parcel.done)))

    def _counted_down(self, done: Done) -> Done:
        def count_down(refusal: Exception | None) -> None:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
            done(refusal)

        return count_down

    def _put(self, parcel: OutgoingMessage) -> None:
        lane, now = self._lane, asyncio.get_running_loop().time()
        for place in (_EVERYTHING, parcel.queue):
            until, refusal = self._refusals.get(place, (0.0, None))
            if until > now:
                parcel.done(refusal)
                return
        if lane is not None and lane.open and (self._declared or parcel.queue != DEAD_LETTERS):
            lane.publish(parcel)
            return
        self._waiting.append(parcel)
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        place = _EVERYTHING
        try:
            if not self._declared and any(one.queue == DEAD_LETTERS for one in self._waiting):
                place = DEAD_LETTERS
                await declare_dead_letters(self._session)
                self._declared, place = True, _EVERYTHING
            if self._lane is None or not self._lane.open:
                with translated("the channel for messages to be kept cannot be opened"):
                    async with self._session.in_time():
                        channel = await self._session.open_channel(confirms=True)
                        self._lane = _ConfirmChannel(self._session, channel.number, self._failed)
        except (ConfigurationError, ConnectionLostError) as error:
            self._refuse(place, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, a new connection starts clean
            _log.exception("%s: messages to be kept cannot be published", self._name)
            self._session.fail(ConnectionLostError(f"messages to be kept cannot be published: {error}"))
        finally:
            self._opening = None
        waiting, self._waiting = self._waiting, []
        if self._session.error is not None:
            self._idle.set()  # they are given to a worker again
            return
        for parcel in waiting:
            self._put(parcel)

    def _failed(self, parcels: list[OutgoingMessage], error: Exception, code: int) -> None:
        """Hear that parcels have not arrived: ``code`` is the broker's, 0 where it is just no."""
        if self._session.error is not None:
            self._idle.set()
            return
        if code == _ACCESS_REFUSED:
            error = permission_error(self._session.endpoint, "amq.default", "a dead letter and every reply", error)
            self._refuse(_EVERYTHING, error)
        for parcel in parcels:
            if parcel.queue == DEAD_LETTERS and code not in (0, _ACCESS_REFUSED) and not parcel.again:
                self._declared = False
                self._put(parcel._replace(again=True))
            else:
                parcel.done(error)

    def _refuse(self, place: bytes, error: Exception) -> None:
        self._refusals[place] = asyncio.get_running_loop().time() + _TRY_AGAIN, error

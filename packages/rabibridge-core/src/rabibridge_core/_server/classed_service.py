"""A service with classes of criticality: one consumer for each class, and one limit for all of them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._protocol.headers import CRITICALITY
from rabibridge_core._protocol.naming import is_class_name
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.class_limiter import ClassedRequest, ClassLimiter
from rabibridge_core._server.service import ServiceRunner
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Consumer, ConsumerEvents, IncomingRequest, ServiceQueue, Transport

__all__ = ["ClassedServiceRunner"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_HELD = 5.0
"""How long a request may wait here while none of its class starts, in seconds, before it is given back."""
_UNKNOWN_LOGGED = 16


class _Lane:
    """What the consumer of one class reports to its service."""

    def __init__(self, runner: ClassedServiceRunner, index: int) -> None:
        self.consumer: Consumer | None = None
        self.head: ActiveRequest | None = None
        """The first of its requests that waited when they were last looked at."""
        self.error: Exception | None = None
        self.given_back = False
        """Whether its consumer has stopped because the class is absent, and may be started again."""
        self._runner, self._index = runner, index
        self.broadcast_received = runner.broadcast_received
        self.lost = runner.lost
        self.reply_refused = runner.reply_refused
        self.cancelled = runner.cancelled
        self.fed = runner.fed

    def received(self, request: IncomingRequest, /) -> None:
        """Called when a request of the class arrives."""
        self._runner.received_in(self._index, request)

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller has disconnected, as it is for all classes."""
        if not self._index:
            self._runner.caller_gone(caller)


class _Consumers:
    """The consumers of all classes, as one."""

    def __init__(self, lanes: list[_Lane], absent: set[int]) -> None:
        self._lanes, self._absent = lanes, absent

    @property
    def live(self) -> bool:
        """Whether requests of all classes arrive, except those that this worker has no slots for now."""
        return all(
            index in self._absent or (lane.consumer is not None and lane.consumer.live)
            for index, lane in enumerate(self._lanes)
        )

    @property
    def error(self) -> Exception | None:
        """Why requests of a class do not arrive, if retrying does not help."""
        errors = (lane.error or (None if lane.consumer is None else lane.consumer.error) for lane in self._lanes)
        return next(filter(None, errors), None)

    async def stop(self) -> None:
        """Stop receiving requests of all classes."""
        await asyncio.gather(*(lane.consumer.stop() for lane in self._lanes if lane.consumer is not None))


class ClassedServiceRunner(ServiceRunner):
    """Receives the requests of all classes of one service.

    A request that waits here is not taken by another worker, even by one that is idle. Normally it starts soon: its
    class has its share of the starts. If it does not, since all slots are taken by requests of more important classes
    that last, the worker gives it back after some seconds, and fetches no more of its class before it has a slot.
    """

    def __init__(self, schema: ServiceSchema, *args: Any, **options: Any) -> None:
        """Serve ``schema``; the arguments are those of :class:`ServiceRunner`."""
        super().__init__(schema, *args, **options)
        self._limiter = self._slots = ClassLimiter(schema.concurrency, len(schema.classes), self._start_queued)
        self._processor.notifies_owner = True
        self._names = frozenset(name for name, _ in schema.classes)
        self._unknown: set[str] = set()
        self._lanes = [_Lane(self, index) for index in range(len(schema.classes))]
        self._transport: Transport | None = None
        self._tasks = TaskSet()
        self._look: asyncio.TimerHandle | None = None
        self._stopped = False

    def consume(self, transport: Transport, consume: Callable[[ServiceQueue, ConsumerEvents], Consumer]) -> Consumer:
        """Start to consume on a transport that can do so at once."""
        self._transport = transport
        for lane, queue in zip(self._lanes, self.schema.queues, strict=True):
            lane.consumer = consume(queue, lane)
        return _Consumers(self._lanes, self._slots.absent)

    async def _open(self, transport: Transport) -> Consumer:
        consumers = _Consumers(self._lanes, self._slots.absent)
        self._transport = transport
        try:
            for lane, queue in zip(self._lanes, self.schema.queues, strict=True):
                lane.consumer = await transport.serve(queue, lane)
        except BaseException:
            await consumers.stop()
            raise
        return consumers

    async def stop_consuming(self) -> None:
        """Receive no more requests. The active ones continue."""
        self._stopped = True
        if self._look is not None:
            self._look.cancel()
        await asyncio.gather(*self._tasks)
        await super().stop_consuming()

    def received_in(self, index: int, request: IncomingRequest) -> None:
        """Called when a request arrives, with the place of its class."""
        if self._at_most_once and request.redelivered:
            self._processor.refuse_redelivered(request)
            return
        if not index and is_class_name(named := request.headers.get(CRITICALITY)) and named not in self._names:
            self._report_unknown(named)
        active = ClassedRequest(self._name, request, self._places)
        active.class_index = index
        self._active.add(active)
        if self._slots.acquire_for(index):
            self._start_queued(active)
            return
        self._enqueue(active, self._slots)
        if index and self._look is None and not (self._at_most_once or self._stopped):
            self._look = self._loop.call_later(_HELD, self._look_at_waiting)

    def request_finished(self, active: ActiveRequest, /) -> None:
        """Called when the processing of a request ends."""
        self._slots.release()
        self._drain.check(self._active)
        for index in list(self._slots.absent) if self._slots.absent else ():
            self._fetch_if_next(index)

    def _fetch_if_next(self, index: int) -> None:
        """Fetch requests of an absent class again if one of them could start now."""
        lane = self._lanes[index]
        if lane.given_back and self._slots.is_next(index):
            lane.given_back = False
            self._slots.absent.discard(index)
            self._tasks.spawn(self._fetch_again(index))

    def _look_at_waiting(self) -> None:
        """Give back the requests of classes of which none has started since the last look."""
        self._look = None
        for index, lane in enumerate(self._lanes[1:], 1):
            head = next(iter(self._slots.waiting[index]), None)
            if head is not None and head is lane.head and index not in self._slots.absent:
                self._slots.absent.add(index)
                self._tasks.spawn(self._give_back(index))
            lane.head = head
        if any(self._slots.waiting[1:]) and not self._stopped:
            self._look = self._loop.call_later(_HELD, self._look_at_waiting)

    async def _give_back(self, index: int) -> None:
        lane = self._lanes[index]
        if lane.consumer is not None:
            await lane.consumer.stop()
        lane.given_back = True
        given_back = [one for one in self._slots.waiting[index] if not one.request.redelivered]  # each one once
        for active in given_back:
            self.stop_request(active, "requeued")
        if given_back:
            _limited.log(
                f"service {self._name!r}: calls of a class are given back", logging.INFO,
                "service %r: %d calls of the class %r are given back, as calls of more important classes take all "
                "slots", self._name, len(given_back), self.schema.classes[index][0],
                extra=log_fields("service.calls_given_back", service=self._name, count=len(given_back)),
            )  # fmt: skip
        self._fetch_if_next(index)

    async def _fetch_again(self, index: int) -> None:
        lane, transport = self._lanes[index], self._transport
        if self._stopped or transport is None:
            return
        queue = replace(self.schema.queues[index], redeclare=False)
        try:
            lane.consumer, lane.error = await transport.serve(queue, lane), None
        except RabiBridgeError as error:
            lane.error = error
            _log.error(
                "service %r: calls of the class %r do not arrive: %s", self._name, queue.name, error,
                extra=log_fields("service.class_unavailable", service=self._name, queue=queue.name, error=error),
            )  # fmt: skip

    def _report_unknown(self, named: str) -> None:
        if named not in self._unknown and len(self._unknown) < _UNKNOWN_LOGGED:
            self._unknown.add(named)
            _log.warning(
                "service %r: callers name the class %r, which it does not have; such calls are served as %r",
                self._name, named, self.schema.classes[0][0],
                extra=log_fields("service.class_unknown", service=self._name),
            )  # fmt: skip

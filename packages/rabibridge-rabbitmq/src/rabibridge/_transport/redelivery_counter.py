"""Counts how often a classic queue delivers a request: RabbitMQ reports only that it was delivered before.

Each redelivered request is replaced in its queue by a copy that carries the count in a header. A request that kills its
worker must not be in the queue twice, so a copy that is delivered to the same worker is held back until the broker has
processed the acknowledgement of the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rabibridge._connection.error_translation import translated
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.transport import CopyVoucher

if TYPE_CHECKING:
    from rabibridge._transport.incoming import RabbitRequest
    from rabibridge._transport.interfaces import DeliveryChannel
    from rabibridge._transport.worker_session import WorkerSession

__all__ = ["RedeliveryCounter"]

_log = get_logger(__name__)
_Key: TypeAlias = tuple[bytes, bytes, int]


class RedeliveryCounter:
    """Counts the deliveries of one channel."""

    def __init__(self, channel: DeliveryChannel[RabbitRequest], worker_session: WorkerSession) -> None:
        """Count on ``channel``."""
        self._channel = channel
        self._worker_session = worker_session
        self._queue = channel.consumer.queue
        self._copied: dict[_Key, list[RabbitRequest]] = {}  # with the copies that are held back
        self._acknowledged: list[_Key] = []
        self._synchronizing = False

    def receive(self, request: RabbitRequest, tag: int, *, uncounted: bool) -> None:
        """Replace a request whose count is ``uncounted`` by a copy; pass counted ones to the service."""
        key = request.caller, request.correlation_id, request.deliveries
        if uncounted:
            self._replace(request, tag, key)
        elif key in self._copied:
            self._copied[key].append(request)
        else:
            self._channel.consumer.events.received(request)

    def _replace(self, request: RabbitRequest, tag: int, key: _Key) -> None:
        channel = self._channel

        def done(refusal: Exception | None) -> None:
            if not channel.open:
                return
            if refusal is None:
                channel.settle(b"", tag)
                self._acknowledged.append(key)
                self._start_synchronizing()
                return
            _log.debug(
                "a request cannot be replaced by a counted copy and is processed as it is: %s", refusal,
                extra=log_fields("republish.failed", error=refusal),
            )  # fmt: skip
            self._deliver([request, *self._copied.pop(key, ())])

        self._copied.setdefault(key, [])
        events = channel.consumer.events
        vouched = events.vouch_for(request) if isinstance(events, CopyVoucher) else {}
        self._worker_session.publisher.publish_counted(request, self._queue, vouched, done)

    def _deliver(self, requests: list[RabbitRequest]) -> None:
        consumer = self._channel.consumer
        for request in requests:
            if consumer.stopped:
                request.reject(requeue=True)
            else:
                consumer.events.received(request)

    def _start_synchronizing(self) -> None:
        if not self._synchronizing:
            self._synchronizing = True
            self._channel.consumer.spawn(self._synchronize())

    async def _synchronize(self) -> None:
        """Deliver held copies once the broker has removed their originals from the queue."""
        session = self._worker_session.session
        try:
            while self._acknowledged:
                keys, self._acknowledged = self._acknowledged, []
                self._channel.flush()
                with translated("redelivered requests cannot be counted"):
                    async with session.timeout():
                        # The reply to any method on this channel proves that earlier acknowledgements are processed.
                        await self._channel.synchronize()
                for key in keys:
                    self._deliver(self._copied.pop(key, []))
        except RabiBridgeError as error:
            _log.debug("%s: the broker redelivers them", error, extra=log_fields("service.redelivered", error=error))
        finally:
            self._synchronizing = False

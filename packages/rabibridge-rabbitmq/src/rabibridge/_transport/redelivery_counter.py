"""Counting how often a classic queue gives a request to a worker: RabbitMQ only says that it did so before.

A copy that carries the count takes the place of each request that comes again. A request that kills its worker must not
be in the queue twice: so a copy that comes back to the same worker is held until the broker has surely taken the
acknowledgement of what it stands for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from rabibridge._connection.error_translation import translated
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

    from rabibridge._transport.incoming import RabbitRequest
    from rabibridge._transport.service_channel import ServiceChannel
    from rabibridge._transport.worker_session import WorkerSession

__all__ = ["RedeliveryCounter"]

_log = logging.getLogger(__name__)
_Key: TypeAlias = tuple[bytes, bytes, int]


class RedeliveryCounter:
    """Counts the requests of one lane."""

    def __init__(self, lane: ServiceChannel, channel: AbstractChannel, serving: WorkerSession) -> None:
        """Count what comes again on ``lane``, which is that of ``channel``."""
        self._lane = lane
        self._channel = channel
        self._serving = serving
        self._queue = lane.consumer.queue
        self._copied: dict[_Key, list[RabbitRequest]] = {}  # with the copies that came back too soon
        self._acknowledged: list[_Key] = []
        self._settling = False

    def take(self, request: RabbitRequest, tag: int, *, again: bool) -> None:
        """Put a copy in place of a request that the queue gives out ``again``; hand over what is counted."""
        key = request.caller, request.correlation_id, request.deliveries
        if again:
            self._replace(request, tag, key)
        elif key in self._copied:
            self._copied[key].append(request)
        else:
            self._lane.consumer.events.received(request)

    def _replace(self, request: RabbitRequest, tag: int, key: _Key) -> None:
        lane = self._lane

        def kept(refusal: Exception | None) -> None:
            if not lane.open:
                return
            if refusal is None:
                lane.settle(b"", tag)
                self._acknowledged.append(key)
                self._settle()
                return
            _log.debug("a request cannot be counted in its queue, it is taken as it is: %s", refusal)
            self._hand_over([request, *self._copied.pop(key, ())])

        self._copied.setdefault(key, [])
        self._serving.parking.count(request, self._queue, kept)

    def _hand_over(self, requests: list[RabbitRequest]) -> None:
        consumer = self._lane.consumer
        for request in requests:
            if consumer.stopped:
                request.reject(requeue=True)
            else:
                consumer.events.received(request)

    def _settle(self) -> None:
        if not self._settling:
            self._settling = True
            self._lane.consumer.keep(self._settled())

    async def _settled(self) -> None:
        """Hand over the copies whose originals are gone for good."""
        session, lane = self._serving.session, self._lane
        try:
            while self._acknowledged:
                keys, self._acknowledged = self._acknowledged, []
                lane.flush()
                with translated("requests that came again cannot be counted"):
                    async with session.in_time():
                        # Any answer on this channel says that what was written before is done.
                        await self._channel.basic_qos(prefetch_count=self._queue.fetch_size)
                for key in keys:
                    self._hand_over(self._copied.pop(key, []))
        except RabiBridgeError as error:
            _log.debug("%s: they are given to a worker again", error)
        finally:
            self._settling = False

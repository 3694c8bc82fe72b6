"""The queue of one service in the memory broker, with the limits of a classic RabbitMQ queue."""

from __future__ import annotations

import heapq
import time
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core.transport import ServiceQueue
    from rabibridge_testing._memory.endpoints import MemoryConsumer
    from rabibridge_testing._memory.messages import Message

__all__ = ["MemoryQueue"]

_by_sequence = attrgetter("sequence")


class MemoryQueue:
    """Requests that wait for a worker.

    ``queue_size`` bounds the requests that wait; those in hand of a worker do not count, and those that come back from
    one are let in even if that makes more. It is checked before a request goes straight to a free worker, so that a
    ``queue_size`` of 0 refuses everything. A request that has expired is dropped when it reaches the front; until then
    it takes its place.
    """

    def __init__(self, spec: ServiceQueue) -> None:
        """Start empty, with the limits of ``spec``."""
        self.spec = spec
        self.deleted = False
        self._ready: deque[Message] = deque()
        self._consumers: deque[MemoryConsumer] = deque()

    def __repr__(self) -> str:
        return f"<MemoryQueue {self.spec.name!r}: {len(self)} wait, {self.unsettled} in hand>"

    def __len__(self) -> int:
        """Return how many requests wait."""
        self._drop_expired()
        return len(self._ready)

    @property
    def consumers(self) -> int:
        """How many workers take requests from it."""
        return len(self._consumers)

    @property
    def unsettled(self) -> int:
        """How many requests the workers have in hand that take from it."""
        return sum(delivery.queue is self for consumer in self._consumers for delivery in consumer.unsettled)

    def offer(self, message: Message) -> bool:
        """Take a request, unless the queue is full; tell whether it was taken."""
        ready = self._ready
        limit = self.spec.queue_size
        if limit is not None:
            self._drop_expired()
            if len(ready) >= limit:
                return False
        ttl = self.spec.timeout
        if ttl is not None:
            latest = time.monotonic() + ttl
            message.expires = latest if message.expires is None else min(latest, message.expires)
        ready.append(message)
        self.dispatch()
        return True

    def put_back(self, messages: Iterable[Message]) -> None:
        """Take back requests that a worker was given, or was about to be: to where they stood before."""
        if self.deleted:
            return
        returned, ready = sorted(messages, key=_by_sequence), self._ready
        if ready and returned and returned[-1].sequence > ready[0].sequence:
            self._ready = deque(heapq.merge(returned, ready, key=_by_sequence))
        else:
            ready.extendleft(reversed(returned))
        self.dispatch()

    def purge(self) -> None:
        """Drop everything that waits."""
        self._ready.clear()

    def forget_transient(self) -> None:
        """Drop what waits and would not survive a restart of the broker."""
        if self.spec.queue_type != "quorum":
            self._ready = deque(message for message in self._ready if message.request.persistent)

    def add(self, consumer: MemoryConsumer) -> None:
        """Let a worker take requests."""
        self._consumers.append(consumer)
        self.dispatch()

    def remove(self, consumer: MemoryConsumer) -> None:
        """Give a worker no more requests; without effect if it takes none."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def delete(self) -> list[MemoryConsumer]:
        """Drop everything and return the workers that took from it; what they have in hand they can still answer."""
        self.deleted = True
        self._ready.clear()
        consumers = list(self._consumers)
        self._consumers.clear()
        return consumers

    def dispatch(self) -> None:
        """Give out what waits, as far as there is room: in turn among the workers that have any."""
        ready, consumers = self._ready, self._consumers
        while ready:
            expires = ready[0].expires
            if expires is not None and expires <= time.monotonic():
                ready.popleft()
                continue
            for _ in range(len(consumers)):
                consumer = consumers[0]
                consumers.rotate(-1)
                if len(consumer.unsettled) < consumer.fetch_size:
                    consumer.take(ready.popleft())
                    break
            else:
                return

    def _drop_expired(self) -> None:
        ready = self._ready
        while ready and (expires := ready[0].expires) is not None and expires <= time.monotonic():
            ready.popleft()

"""The queue of one service in the memory broker, with the limits of a classic RabbitMQ queue."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.naming import service_of_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from rabibridge_core.transport import ServiceQueue
    from rabibridge_testing._memory.messages import Message

__all__ = ["MemoryQueue", "QueueConsumer", "limit_differences"]

_LIMITS = ("queue_size", "timeout", "queue_type")
_QUORUM_LIMITS = (*_LIMITS, "redelivery_limit")

_GIVEN_BACK = 2**62
"""How far in front of all others a quorum queue has the requests that were given back to it."""

_by_sequence = attrgetter("sequence")


class _Unsettled(Protocol):
    """A request that a consumer has taken and not settled."""

    @property
    def queue(self) -> MemoryQueue:
        """The queue that it was taken from."""
        ...


class QueueConsumer(Protocol):
    """What a queue uses of a consumer.

    Attributes:
        fetch_size: how many requests it may hold unsettled.
    """

    fetch_size: int

    @property
    def unsettled(self) -> Collection[_Unsettled]:
        """The requests that count against ``fetch_size``."""
        ...

    def take(self, message: Message) -> None:
        """Called with a request while fewer than ``fetch_size`` are unsettled."""
        ...

    def queue_deleted(self) -> None:
        """Called when the queue was deleted: no more requests come from it."""
        ...


class MemoryQueue:
    """The requests that wait for a worker.

    ``queue_size`` limits the number of waiting requests. Requests being processed do not count, and requests that a
    worker gives back are always accepted, even beyond the limit. The limit is checked before a request goes straight to
    a free worker, so a ``queue_size`` of 0 refuses everything. An expired request is dropped when it reaches the head
    of the queue; until then it counts.
    """

    def __init__(
        self, spec: ServiceQueue, numbers: Iterator[int] | None = None, now: Callable[[], float] = monotonic
    ) -> None:
        """Create an empty queue.

        Args:
            spec: its limits.
            numbers: those of the messages of the broker.
            now: the clock of the broker.
        """
        self._numbers, self._now = itertools.count() if numbers is None else numbers, now
        self.spec = spec
        self.service = service_of_queue(spec.name)
        self.deleted = False
        self._ready: deque[Message] = deque()
        self._consumers: deque[QueueConsumer] = deque()  # in the order of their turns
        self._full: list[QueueConsumer] = []

    def __repr__(self) -> str:
        return f"<MemoryQueue {self.spec.name!r}: {len(self)} waiting, {self.unsettled} unsettled>"

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        ready, now = list(self._ready), self._now()
        expired = 0  # from the head on: others count, as their turn has not come
        while expired < len(ready) and (expires := ready[expired].expires) is not None and expires <= now:
            expired += 1
        return len(ready) - expired

    @property
    def consumers(self) -> int:
        """The number of consumers of this queue."""
        return len(self._consumers) + len(self._full)

    @property
    def unsettled(self) -> int:
        """The number of requests that the current consumers have taken from this queue and not settled."""
        return sum(
            delivery.queue is self for consumer in (*self._consumers, *self._full) for delivery in consumer.unsettled
        )

    def offer(self, message: Message) -> bool:
        """Accept a request unless the queue is full; return whether it was accepted."""
        ready = self._ready
        limit = self.spec.queue_size
        if limit is not None:
            self._drop_expired()
            if len(ready) >= limit:
                return False
        ttl = self.spec.timeout
        if ttl is not None:
            latest = self._now() + ttl
            message.expires = latest if message.expires is None else min(latest, message.expires)
        ready.append(message)
        self.dispatch()
        return True

    def put_back(self, messages: Iterable[Message]) -> None:
        """Requeue requests at the positions that they had before a consumer took them.

        In a quorum queue, they come after others that were given back before, and in front of all that never left it.
        """
        if self.deleted:
            return
        self._drop_expired()  # before what is given back stands in front of them
        returned, ready = sorted(messages, key=_by_sequence), self._ready
        if self.spec.queue_type == "quorum":
            for message in returned:
                message.sequence = next(self._numbers) - _GIVEN_BACK
        if ready and returned and returned[-1].sequence > ready[0].sequence:
            self._ready = deque(heapq.merge(returned, ready, key=_by_sequence))
        else:
            ready.extendleft(reversed(returned))
        self.dispatch()

    def purge(self) -> None:
        """Drop all waiting requests."""
        self._ready.clear()

    def forget_transient(self) -> None:
        """Drop the waiting requests that do not survive a restart of the broker."""
        if self.spec.queue_type != "quorum":
            self._ready = deque(message for message in self._ready if message.request.persistent)

    def add(self, consumer: QueueConsumer) -> None:
        """Deliver requests to ``consumer``."""
        self._consumers.append(consumer)
        self.dispatch()

    def remove(self, consumer: QueueConsumer) -> None:
        """Stop delivering requests to ``consumer``; without effect if it is not a consumer of this queue."""
        for consumers in (self._consumers, self._full):
            if consumer in consumers:
                consumers.remove(consumer)

    def delete(self) -> None:
        """Drop all waiting requests, and all consumers, after telling them.

        Consumers can still answer the requests that they are processing.
        """
        self.deleted = True
        self._ready.clear()
        consumers = [*self._consumers, *self._full]
        self._consumers.clear()
        self._full.clear()
        for consumer in consumers:
            consumer.queue_deleted()

    def freed(self, consumer: QueueConsumer) -> None:
        """Called when ``consumer`` has settled a request: if it was full, its turn comes last."""
        if consumer in self._full and len(consumer.unsettled) < consumer.fetch_size:
            self._full.remove(consumer)
            self._consumers.append(consumer)
        self.dispatch()

    def dispatch(self) -> None:
        """Deliver waiting requests to the consumers with free capacity, in turn."""
        ready, consumers = self._ready, self._consumers
        while ready:
            expires = ready[0].expires
            if expires is not None and expires <= self._now():
                ready.popleft()
                continue
            if not consumers:
                return
            consumer = consumers.popleft()
            if len(consumer.unsettled) < consumer.fetch_size:
                consumer.take(ready.popleft())
                # A quorum queue notices at once that a consumer is full, a classic one when its turn comes.
                full = self.spec.queue_type == "quorum" and len(consumer.unsettled) >= consumer.fetch_size
                (self._full if full else consumers).append(consumer)
            else:
                self._full.append(consumer)

    def replace_by_copy(self, message: Message) -> bool:
        """Append a copy of a request that a consumer has taken, which carries the count; ``False``: the queue is full.

        Workers do that where RabbitMQ does not count, which is on classic queues, for a request that comes again.
        """
        limit = self.spec.queue_size
        if self.deleted or (limit is not None and len(self._ready) >= limit):
            return False
        message.sequence = next(self._numbers)
        self._ready.append(message)
        self.dispatch()
        return True

    def _drop_expired(self) -> None:
        ready = self._ready
        while ready and (expires := ready[0].expires) is not None and expires <= self._now():
            ready.popleft()


def limit_differences(existing: ServiceQueue, requested: ServiceQueue) -> str:
    """Return which limits of a queue differ from the requested ones, as text; empty if none does."""
    limits = _QUORUM_LIMITS if existing.queue_type == requested.queue_type == "quorum" else _LIMITS
    return ", ".join(
        f"{limit} is {getattr(existing, limit)!r} on the broker, {getattr(requested, limit)!r} here"
        for limit in limits
        if getattr(existing, limit) != getattr(requested, limit)
    )

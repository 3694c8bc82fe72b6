"""A broker as small as one can be. It is an object here; a real one is another process, and each method a message."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rabibridge_core.connection import broker_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge_core.transport import Request, ServiceQueue

ADDRESS = "worker:"  # before the token of a connection: where callers send further messages of calls


class RefusedError(Exception):
    """The broker refuses; the text says why."""


@dataclass(order=True)
class Message:
    sequence: int
    request: Request = field(compare=False)
    reply_to: str = field(compare=False)
    deadline: float | None = field(compare=False)
    expires: float | None = field(compare=False, default=None)
    deliveries: int = field(compare=False, default=0)


class Subscription:
    """One consumer of a queue: the requests that it holds, and where further ones go."""

    def __init__(self, fetch_size: int, deliver: Callable[[Message], None]) -> None:
        self.fetch_size, self.deliver = fetch_size, deliver
        self.held: dict[int, Message] = {}


class Queue:
    def __init__(self, spec: ServiceQueue) -> None:
        self.spec = spec
        self.waiting: list[Message] = []
        self.subscriptions: list[Subscription] = []

    def _live(self) -> int:
        now = asyncio.get_running_loop().time()
        while self.waiting and (at := self.waiting[0].expires) is not None and at <= now:
            heapq.heappop(self.waiting)
        return len(self.waiting)

    def offer(self, message: Message) -> bool:
        if self.spec.queue_size is not None and self._live() >= self.spec.queue_size:
            return False
        limits = [one for one in (message.request.timeout, self.spec.timeout) if one is not None]
        if limits:
            message.expires = asyncio.get_running_loop().time() + min(limits)
        heapq.heappush(self.waiting, message)
        self.dispatch()
        return True

    def dispatch(self) -> None:
        """Hand waiting requests to the consumers with places free, in turn."""
        while self._live():
            free = next((one for one in self.subscriptions if len(one.held) < one.fetch_size), None)
            if free is None:
                return
            self.subscriptions.remove(free)
            self.subscriptions.append(free)
            message = heapq.heappop(self.waiting)
            free.held[message.sequence] = message
            free.deliver(message)

    def release(self, subscription: Subscription, sequence: int, *, requeue: bool) -> None:
        message = subscription.held.pop(sequence, None)
        if message is not None and requeue:
            message.deliveries += 1
            heapq.heappush(self.waiting, message)  # its number is its position
        self.dispatch()

    def end(self, subscription: Subscription) -> None:
        """Put back what a consumer holds that is gone."""
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
        for sequence in list(subscription.held):
            self.release(subscription, sequence, requeue=True)


def _difference(known: ServiceQueue, wanted: ServiceQueue) -> str:
    limits = {limit: (getattr(known, limit), getattr(wanted, limit)) for limit in ("queue_size", "timeout")}
    return ", ".join(f"{limit} is {a!r} on the broker, {b!r} here" for limit, (a, b) in limits.items() if a != b)


class Broker:
    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.connections: dict[str, Callable[..., None]] = {}
        self.listeners: dict[str, list[str]] = {}  # the connections that get what is published to a key
        self.dead_letters: list[tuple[str, bytes, str]] = []
        self.accepting, self.max_size = True, 1 << 30
        self._numbers = itertools.count()

    def attach(self, token: str, arrived: Callable[..., None]) -> None:
        if not self.accepting:
            raise RefusedError("the broker accepts no connections")
        self.connections[token] = arrived

    def declare(self, spec: ServiceQueue) -> Queue:
        known = self.queues.get(spec.name)
        if known is not None and (difference := _difference(known.spec, spec)):
            if not spec.redeclare:
                raise RefusedError(broker_texts.limits_differ(spec.name, difference))
            if known.subscriptions:
                raise RefusedError(broker_texts.served_elsewhere(spec.name, difference, len(known.subscriptions)))
            known = None
        if known is None:
            known = self.queues[spec.name] = Queue(spec)
        keys = (*known.spec.routing_keys, *spec.routing_keys)
        known.spec = replace(known.spec, routing_keys=tuple(dict.fromkeys(keys)))
        self._settle_other_kind(spec)
        return known

    def _settle_other_kind(self, spec: ServiceQueue) -> None:
        """A service that was `def` and is `async def` now leaves a queue behind: its keys lead here from now on."""
        other = self.queues.get(spec.other_queue or "")
        if other is not None and spec.any_keys and not other.subscriptions:
            if not other.waiting:
                del self.queues[other.spec.name]
                return
            text = broker_texts.left_behind(spec.name, other.spec.name, len(other.waiting))
            logging.getLogger("small").warning("%s", text)
            if not spec.preferred:
                left = tuple(key for key in other.spec.routing_keys if key not in spec.any_keys)
                other.spec = replace(other.spec, routing_keys=left)

    def delete(self, name: str) -> None:
        queue = self.queues.pop(name, None)
        for arrived in list(self.connections.values()) if queue is not None else ():
            arrived("deleted", queue)

    def publish(self, request: Request, reply_to: str) -> str:
        """Return what became of a request: "queued", "full" or "no route"."""
        found = [queue for queue in self.queues.values() if request.routing_key in queue.spec.routing_keys]
        if not found:
            return "no route"
        best = max(found, key=lambda queue: (bool(queue.subscriptions), queue.spec.preferred))
        deadline = None if request.timeout is None else time.time() + request.timeout
        return "queued" if best.offer(Message(next(self._numbers), request, reply_to, deadline)) else "full"

    def send(self, token: str, *message: Any) -> bool:
        """Send something to a connection; return whether it is there."""
        arrived = self.connections.get(token)
        if arrived is not None:
            arrived(*message)
        return arrived is not None

    def publish_to_all(self, key: str, *message: Any) -> int:
        """Send something to all connections that listen to a key; return how many there are."""
        return sum(self.send(token, *message) for token in list(self.listeners.get(key, ())))

    def listen(self, token: str, keys: Iterable[str]) -> None:
        for key in keys:
            tokens = self.listeners.setdefault(key, [])
            if token not in tokens:
                tokens.append(token)

    def detach(self, token: str) -> None:
        self.connections.pop(token, None)
        for tokens in self.listeners.values():
            if token in tokens:
                tokens.remove(token)

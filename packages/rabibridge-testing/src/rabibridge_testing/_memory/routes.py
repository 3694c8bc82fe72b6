"""Which queue a routing key leads to in the memory broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_testing._memory.queue import MemoryQueue

__all__ = ["Routes"]


class Routes:
    """The queues that are bound to each routing key: one, or two for a key that both kinds of a service have."""

    def __init__(self) -> None:
        """Start without bindings."""
        self._bound: dict[str, list[MemoryQueue]] = {}

    def bind(self, key: str, queue: MemoryQueue) -> None:
        """Let a key lead to a queue; without effect if it does."""
        bound = self._bound.setdefault(key, [])
        if queue not in bound:
            bound.append(queue)

    def unbind(self, key: str, queue: MemoryQueue) -> None:
        """Let a key no longer lead to a queue; without effect if it does not."""
        bound = self._bound.get(key, [])
        if queue in bound:
            bound.remove(queue)
            if not bound:
                del self._bound[key]

    def remove(self, queue: MemoryQueue) -> None:
        """Remove all bindings of a queue."""
        for key in list(self._bound):
            self.unbind(key, queue)

    def find(self, key: str) -> MemoryQueue | None:
        """Return the one queue that gets the requests of a key, ``None`` if there is none.

        If both kinds have the key, it is the preferred one, unless nobody serves that and somebody serves the other:
        on RabbitMQ, the workers of the other kind take the key within seconds.
        """
        bound = self._bound.get(key)
        if bound is None:
            return None
        if len(bound) == 1:
            return bound[0]
        served = [queue for queue in bound if queue.consumers] or bound
        return next((queue for queue in served if queue.spec.preferred), served[0])

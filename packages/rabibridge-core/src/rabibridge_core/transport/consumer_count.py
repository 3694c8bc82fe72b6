"""How many workers serve a queue, for those that share something among them: an optional part of a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rabibridge_core.transport.messages import ServiceQueue

__all__ = ["ConsumerCounter"]


@runtime_checkable
class ConsumerCounter(Protocol):
    """A transport that knows how many consumers a queue has. Optional."""

    async def count_consumers(self, queue: ServiceQueue, /) -> int | None:
        """Return how many consumers the queue has now, over all connections; ``None`` if that cannot be found out.

        A consumer of this transport counts from when it is live. One whose connection is gone counts until the broker
        has noticed that.

        Raises:
            RabiBridgeError: there is no connection.
        """
        ...

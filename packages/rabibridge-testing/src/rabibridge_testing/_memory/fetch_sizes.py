"""Changes how many requests a consumer holds, while it consumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_testing._memory.threads import locked

if TYPE_CHECKING:
    from threading import RLock

    from rabibridge_testing._memory.delivery import Delivery
    from rabibridge_testing._memory.queue import MemoryQueue

__all__ = ["FetchSizes"]


class FetchSizes:
    """What makes a consumer an :class:`~rabibridge_core.transport.AdjustableConsumer`."""

    queue: MemoryQueue
    fetch_size: int
    unsettled: dict[Delivery, None]

    @property
    def lock(self) -> RLock:
        """The lock of the broker."""
        raise NotImplementedError

    async def set_fetch_size(self, fetch_size: int, /) -> None:
        """Hold at most so many unsettled requests from now on."""
        self._set_fetch_size(fetch_size)

    @locked
    def _set_fetch_size(self, fetch_size: int) -> None:
        self.fetch_size = fetch_size
        self.queue.freed(self)  # type: ignore[arg-type]  # it is the consumer

"""Changes how many requests a consumer holds, while it consumes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rabibridge_core.transport import ServiceQueue
    from rabibridge_redis._session.session import Session

__all__ = ["FetchSizes"]


class FetchSizes:
    """What makes a consumer an :class:`~rabibridge_core.transport.AdjustableConsumer`."""

    spec: ServiceQueue
    session: Session | None

    def _schedule(self) -> None:
        """Take as many requests as there are places free, soon."""
        raise NotImplementedError

    async def set_fetch_size(self, fetch_size: int, /) -> None:
        """Hold at most so many unsettled requests from now on."""
        self.spec = replace(self.spec, fetch_size=fetch_size)
        self._schedule()

    async def count_consumers(self) -> int | None:
        """Return how many consumers the queue has."""
        if self.session is None:
            raise ConnectionLostError(f"there is no connection to the queue {self.spec.name!r}", executed=False)
        found = await asyncio.shield(asyncio.ensure_future(self.session.ask("look", self.spec.name)))
        return None if found == -1 else int(found[0])

"""Changes how many requests a consumer holds, while it consumes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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

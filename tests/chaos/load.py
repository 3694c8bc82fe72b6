"""Load: callers that always have a call under way."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.chaos.ledger import GRACE, PLENTY
from tests.support.waiting import until

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.chaos.ledger import Ledger, Plan

__all__ = ["CALLERS", "Load"]

CALLERS = 240
"""More than the 200 calls that are to be in flight throughout: some callers are between two calls."""
_AFTER_AN_ERROR = 0.05


class Load:
    """Many callers on one client; each makes one call after the other, of a plan taken at random.

    It flows where ``busy`` of the callers have a call under way: fewer do where many calls are refused at once.
    """

    def __init__(
        self, ledger: Ledger, client: RMQClient, plans: tuple[Plan, ...], callers: int = CALLERS, busy: float = 5 / 6
    ) -> None:
        self.in_flight = 0
        self.results = 0
        self._ledger = ledger
        self._client = client
        self._plans = plans
        self._ending = False
        self._busy = int(callers * busy)
        self._callers = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def _call(self) -> None:
        while not self._ending:
            self.in_flight += 1
            try:
                entry = await self._ledger.call(self._client, random.choice(self._plans))
            finally:
                self.in_flight -= 1
            self.results += entry.ok
            if not entry.ok:
                await asyncio.sleep(_AFTER_AN_ERROR)

    async def flows(self, more: int = 100) -> None:
        """Wait until so many more calls have their result and almost all callers have one under way: 200 of 240."""
        enough = self.results + more
        await until(lambda: self.results >= enough and self.in_flight >= self._busy)

    async def end(self) -> None:
        """Begin no more calls; return when those under way have ended, as all of them must."""
        self._ending = True
        _, hanging = await asyncio.wait(self._callers, timeout=PLENTY + GRACE)
        for caller in hanging:
            caller.cancel()  # the ledger shows that its call has not ended
        for caller in self._callers:
            if caller.done() and not caller.cancelled():
                caller.result()

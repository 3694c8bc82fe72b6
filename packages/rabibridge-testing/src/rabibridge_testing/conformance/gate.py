"""A service whose calls a test can hold."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_testing.conformance.harness import service

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["Gate"]


class Gate:
    """A service whose calls block until the test opens the gate.

    Attributes:
        started: gets the ``where`` of each call that starts.
        ended: gets the ``where`` of each call that ends.
        opened: set it to let all calls return.
        running: the number of calls that are running.
        most: the highest number of calls that were running at the same time.
    """

    def __init__(self) -> None:
        """Start closed."""
        self.started: asyncio.Queue[str] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.running = 0
        self.most = 0

    def service(self, name: str, where: str = "", **limits: Any) -> ServiceSchema:
        """Return a service that waits for the gate, then returns ``where``."""

        async def wait(_: int = 0) -> str:
            self.running += 1
            self.most = max(self.most, self.running)
            self.started.put_nowait(where)
            try:
                await self.opened.wait()
            finally:
                self.running -= 1
                self.ended.put_nowait(where)
            return where

        return service(wait, name, **limits)

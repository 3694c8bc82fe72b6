"""Asks workers beside the calls of a client: on a channel of its own.

A broker that refuses a message may close its channel, and with it end every call that waits there. What the client asks
for its own sake must not do that to the calls of its program.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._client.call_table import CallTable
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rabibridge_core._concurrency.background import TaskSet
    from rabibridge_core.transport import Caller, Transport

__all__ = ["SideCaller"]


class SideCaller:
    """Sends control requests over the connection of a client. It implements ``ControlSender``.

    Attributes:
        calls: a table without calls, which hears the answers.
    """

    def __init__(self, transport: Transport, name: str, tasks: TaskSet) -> None:
        """Open nothing yet.

        Args:
            transport: that of the client; whoever closes it closes this.
            name: the name of the client.
            tasks: the tasks that end with the client.
        """
        self.calls = CallTable(max_pending=1, name=name)
        self._transport = transport
        self._tasks = tasks
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the channel, unless that was done.

        Raises:
            RabiBridgeError: it cannot be opened.
        """
        if self.calls.caller is not None:
            return
        if self._opening is None or self._opening.done():
            self._opening = self._tasks.spawn(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        self.calls.start(asyncio.get_running_loop())
        self.calls.caller = await self._transport.open_caller(self.calls)

    def connected(self) -> Caller:
        """Return what sends control requests.

        Raises:
            ConnectionLostError: it was not opened.
        """
        if self.calls.caller is None:
            raise ConnectionLostError("the channel for control requests is not open", executed=False)
        return self.calls.caller

    async def admitted(self, func_name: str, timeout: float | None, seconds: float | None) -> float | None:
        """Wait until something can be sent; whoever calls this limits the time."""
        while (caller := self.connected()).paused:
            await caller.writable()
        return seconds

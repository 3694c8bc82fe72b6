"""The connection of a client to one of several brokers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rabibridge_core._client.client import Client
    from rabibridge_core.errors import ConfigurationError, ConnectionLostError

__all__ = ["ShardLink", "first_of"]


class ShardLink:
    """The connection of a client to one broker: a :class:`~rabibridge_core._client.shards.ShardConnection`."""

    def __init__(self, engine: Callable[[], Client], unconnected: ConnectionLostError) -> None:
        """Begin without a connection.

        Args:
            engine: returns what sends there now; it is another one after each connecting anew.
            unconnected: what calls end with before :meth:`begin`.
        """
        self._engine = engine
        self._attempted, self._decided = asyncio.Event(), asyncio.Event()
        self.error: ConnectionLostError | ConfigurationError | None
        """Why the broker was not reached."""
        self.end(unconnected)

    def begin(self) -> None:
        """Forget what is known, before connecting."""
        self._attempted, self._decided = asyncio.Event(), asyncio.Event()
        self.error = None

    def end(self, error: ConnectionLostError | ConfigurationError) -> None:
        """Take note that nothing will be sent any more, until :meth:`begin`: the client is closed, or refused."""
        self.error = error
        self._attempted.set()
        self._decided.set()

    def failed(self, error: ConnectionLostError) -> None:
        """Take note that the broker was not reached; it is tried again."""
        self.error = error
        self._attempted.set()

    def reached(self) -> None:
        """Take note that the broker was reached. From now on the transport connects again after a loss."""
        self.error = None
        self.engine.calls.idempotency.elsewhere = True
        self._attempted.set()
        self._decided.set()

    @property
    def decided(self) -> bool:
        """Whether it was reached, or will not be."""
        return self._decided.is_set()

    async def attempted(self) -> None:
        """Wait for the first attempt.

        Raises:
            ConnectionLostError: it has failed.
            ConfigurationError: the broker refuses this client.
        """
        await self._attempted.wait()
        if self.error is not None:
            raise self.error

    @property
    def engine(self) -> Client:
        """What sends there."""
        return self._engine()

    @property
    def open(self) -> bool:
        """Whether a call could be sent now."""
        caller = self.engine.calls.caller
        return caller is not None and not caller.paused

    @property
    def pending(self) -> int:
        """How many calls wait for their reply there."""
        return self.engine.pending

    async def writable(self) -> None:
        """Wait until a call could be sent.

        Raises:
            ConnectionLostError: the client is closed or was never connected.
            ConfigurationError: the broker refuses this client.
        """
        await self._decided.wait()
        if self.error is not None:
            raise self.error
        while (caller := self.engine.connected()).paused:
            await caller.writable()


async def first_of(waits: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Wait for the first that succeeds; raise the error of the first if all fail."""
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    left = set(tasks)
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() is None for task in done):
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    tasks[0].result()

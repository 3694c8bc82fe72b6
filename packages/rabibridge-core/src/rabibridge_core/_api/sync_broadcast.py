"""Broadcasts of a synchronous client."""

from __future__ import annotations

import warnings
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rabibridge_core._api.sync_iteration import iterate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from rabibridge_core._api.sync_connection_calls import ConnectionCalls
    from rabibridge_core._client.broadcast import Broadcast, BroadcastReply
    from rabibridge_core.errors import RabiBridgeError

__all__ = ["SyncBroadcast"]

ResultT = TypeVar("ResultT")


class SyncBroadcast(Generic[ResultT]):
    """A call of every worker of a service: iterate over it with ``for`` to send it and to get the replies.

    The iteration ends when every worker has answered, or at the timeout without an error; :attr:`missing` and
    :attr:`silent` say then who has not answered. Leaving it early cancels the function on the workers that still run
    it. It can be iterated over once.
    """

    def __init__(self, connection: ConnectionCalls, make: Callable[[], Any], name: str) -> None:
        """Send by ``connection``; ``make`` returns the coroutine that makes the broadcast. Made by the client."""
        self._connection = connection
        self._make = make
        self._name = name
        self._sent = False
        self._broadcast: Broadcast[ResultT] | None = None

    def __repr__(self) -> str:
        """Show what is known."""
        return f"<{type(self).__name__} of {self._name!r}: {self._broadcast or 'not sent'}>"

    def __iter__(self) -> Generator[BroadcastReply[ResultT]]:
        """Send it, and return the replies as they arrive.

        Raises:
            RuntimeError: it was iterated over before.
        """
        if self._sent:
            raise RuntimeError(
                f"this broadcast of {self._name!r} was sent already: call client.broadcast() again to send another one"
            )
        self._sent = True
        return iterate(self._connection, lambda _: self._replies())

    async def _replies(self) -> AsyncGenerator[BroadcastReply[ResultT]]:
        broadcast: Broadcast[ResultT] = await self._make()
        self._broadcast = broadcast
        async with aclosing(broadcast.__aiter__()) as replies:
            async for reply in replies:
                yield reply

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the workers that have received it and have not answered so far."""
        return () if self._broadcast is None else self._broadcast.missing

    @property
    def silent(self) -> int | None:
        """The number of workers that take calls of the service and have not said that they received the broadcast.

        ``None``: the broker does not tell how many workers there are, or nothing was sent yet.
        """
        return None if self._broadcast is None else self._broadcast.silent

    @property
    def failed(self) -> Mapping[str, RabiBridgeError]:
        """Why no more replies come from some of several brokers, by their names; empty with one broker."""
        return {} if self._broadcast is None else self._broadcast.failed

    @property
    def complete(self) -> bool:
        """Whether every worker of the service has answered."""
        return self._broadcast is not None and self._broadcast.complete

    def __del__(self) -> None:
        """Warn if it was never sent."""
        if not getattr(self, "_sent", True):
            warnings.warn(
                f"a broadcast of {self._name!r} was never sent: iterate over it with 'for'",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

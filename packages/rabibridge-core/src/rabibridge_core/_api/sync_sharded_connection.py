"""The connections of a synchronous client of several brokers in one process, which share a thread and its loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from rabibridge_core._api.sync_connection_calls import ConnectionCalls
from rabibridge_core._hosting.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rabibridge_core._api.calls import ClientView
    from rabibridge_core._api.client import RpcClient
    from rabibridge_core._api.sharded_client import ShardedClient
    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.options import GivenOptions

__all__ = ["KeyedConnection", "ShardConnection", "SyncShardedConnection"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SyncShardedConnection(LoopThread, ConnectionCalls):
    """Connects ``client`` to its brokers when it is needed first, and again after all of them were given up."""

    def __init__(self, client: ShardedClient, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
        """Own ``client``, which is not connected yet."""
        super().__init__(client.name, client.close, loop_factory)
        self.client = client
        self._connecting: asyncio.Task[ShardedClient] | None = None

    async def connect(self) -> None:
        """Connect; no effect when connected. A thread that waits no longer does not end it for the others."""
        task = self._connecting
        if task is None or (task.done() and not self._is_connected()):
            task = self._connecting = asyncio.create_task(self.client.connect(), name=f"{self.name}-connect")
            task.add_done_callback(_retrieve)
        await asyncio.shield(task)

    def _direct_function(self) -> None:
        """Return nothing: a call may wait for another broker, so that it runs in a task."""

    def _is_connected(self) -> bool:
        task = self._connecting
        return (
            task is not None
            and task.done()
            and not task.cancelled()
            and task.exception() is None
            and self.client._is_live()
        )

    def _last_error(self) -> str:
        return self.client._errors()

    def _sender(self) -> CallEngine:
        return self.client._client

    def _client_view(self, given: GivenOptions) -> ClientView:
        return self.client._view(given)


class _PartConnection(ConnectionCalls):
    """What all calls of a view go by that has its own choice of the broker."""

    __slots__ = ("_of", "name", "pid")

    def __init__(self, of: SyncShardedConnection) -> None:
        """Use the thread and the connections of ``of``."""
        self._of = of
        self.name, self.pid = of.name, of.pid

    def run(self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        return self._of.run(function, *args)

    def run_or_end(
        self,
        end: Callable[[], Coroutine[Any, Any, None]],
        function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
        *args: *Ts,
    ) -> T:
        return self._of.run_or_end(end, function, *args)

    def end_soon(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._of.end_soon(end)

    def call_soon(self, work: Callable[[], object]) -> None:
        self._of.call_soon(work)

    async def connect(self) -> None:
        """Connect to all brokers."""
        await self._of.connect()

    def _is_connected(self) -> bool:
        return self._of._is_connected()

    def _last_error(self) -> str:
        return self._of._last_error()


class KeyedConnection(_PartConnection):
    """Sends calls to the broker of a key."""

    __slots__ = ("_key",)

    def __init__(self, of: SyncShardedConnection, key: str) -> None:
        """Use the connections of ``of``."""
        super().__init__(of)
        self._key = key

    def _sender(self) -> CallEngine:
        return self._of.client._client.with_key(self._key)

    def _client_view(self, given: GivenOptions) -> ClientView:
        return self._of.client.for_key(self._key)._view(given)


class ShardConnection(_PartConnection):
    """Sends calls to one broker."""

    __slots__ = ("_shard",)

    def __init__(self, of: SyncShardedConnection, shard: str) -> None:
        """Use the connection of ``of`` to the broker of this name."""
        super().__init__(of)
        self._shard = shard

    @property
    def client(self) -> RpcClient:
        """The client of that broker."""
        return self._of.client.shards[self._shard]

    async def connected_client(self) -> RpcClient:
        """Connect, if that is needed, and return the client."""
        await self.connect()
        return self.client

    def _sender(self) -> CallEngine:
        return self.client._client

    def _client_view(self, given: GivenOptions) -> ClientView:
        return self.client._view(given)


def _retrieve(task: asyncio.Task[ShardedClient]) -> None:
    """Take the error, which is logged otherwise if every thread that waited has given up."""
    if not task.cancelled():
        task.exception()

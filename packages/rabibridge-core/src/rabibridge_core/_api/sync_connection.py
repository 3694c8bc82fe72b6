"""The connection of a synchronous client in one process: an async client, and the thread that runs its event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._api.sync_connection_calls import ConnectionCalls
from rabibridge_core._hosting.loop_thread import LoopThread
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from rabibridge_core._api.calls import ClientView
    from rabibridge_core._api.client import RpcClient
    from rabibridge_core._client.client import Client
    from rabibridge_core._client.options import AnyOptions, GivenOptions

__all__ = ["SyncConnection"]


class SyncConnection(LoopThread, ConnectionCalls):
    """Connects ``client`` when it is needed first, and again after the connection was given up.

    The coroutine functions run on the loop, by :meth:`run`.
    """

    def __init__(self, client: RpcClient, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
        """Own ``client``, which is not connected yet."""
        super().__init__(client.name, client.close, loop_factory)
        self.client = client
        self._engine = client._client
        self._connected = False

    async def connect(self) -> None:
        """Connect; no effect when connected."""
        client = self.client
        if client.state is ConnectionState.CLOSED:
            self._connected = False
        await client.connect()
        self._engine = client._client  # connect() makes another one after the connection was given up
        self._connected = True

    def call(self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions) -> Any:
        """Run :meth:`remote_call` on the loop, as :meth:`run` does."""
        return self._run(self.remote_call, (func_name, args, kwargs, options), direct=True)

    def _direct_function(self) -> Callable[..., Coroutine[Any, Any, Any]] | None:
        engine = self._engine
        # It waits for nothing but its reply then. Plug-ins that observe calls may expect to run in a task.
        return engine.call if engine.calls.sends_at_once and engine.observer is None else None

    def _is_connected(self) -> bool:
        return self._connected and self.client.state is not ConnectionState.CLOSED

    def _last_error(self) -> str:
        return str(self.client.last_error or "")

    def _sender(self) -> Client:
        return self._engine

    def _client_view(self, given: GivenOptions) -> ClientView:
        return self.client._view(given)

    async def connected_client(self) -> RpcClient:
        """Connect, if that is needed, and return the client."""
        await self.connect()
        return self.client

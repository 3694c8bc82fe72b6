"""Calls over several independent brokers: each goes to one of them, and to another one where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._client.broadcasting import Broadcaster
from rabibridge_core._client.notify import notify
from rabibridge_core._client.shard_attempts import Attempts
from rabibridge_core._client.sharded_broadcast import ShardedBroadcast, ShardedSending
from rabibridge_core.errors import CallError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from rabibridge_core._client.client import Client
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core._client.shard_link import ShardLink
    from rabibridge_core._client.shards import ShardSet
    from rabibridge_core.plugins.observers import CallObserver, ClientObserver
    from rabibridge_core.transport import Transport

__all__ = ["ShardedEngine"]


class ShardedEngine:
    """Sends the calls of one client, or those with one key. It is a :class:`CallEngine`.

    A call goes to one other broker if it was refused by a full queue, and to all others in turn if nobody serves it, if
    it could not be sent, or if the connection was lost and running it twice does no harm. With a key, it only leaves
    its broker if running it twice does no harm, and only if that cannot be reached.
    """

    def __init__(self, name: str, shards: ShardSet, links: Mapping[str, ShardLink], key: str | None = None) -> None:
        """Send by ``links``, by the name of the shard; ``key``: what all calls belong to, if anything."""
        self.name = name
        self._shards, self._links, self._key = shards, links, key

    def with_key(self, key: str) -> ShardedEngine:
        """Return the same for calls that belong to ``key``."""
        return ShardedEngine(self.name, self._shards, self._links, key)

    def shard_of(self, key: str) -> str:
        """Return the name of the broker of a key."""
        return self._shards.of_key(key)[0].name

    @property
    def _here(self) -> Client:
        """What something is sent by that stays with one broker, such as a stream."""
        shards, key = self._shards, self._key
        shard = (shards.any_of("", (), 0.0) or shards.shards[0]) if key is None else shards.of_key(key)[0]
        return self._links[shard.name].engine

    @property
    def transport(self) -> Transport:
        """That of one of the brokers."""
        return self._here.transport

    @property
    def preparation(self) -> Preparation:
        """That of the broker that a stream goes to."""
        return self._here.preparation

    @property
    def observer(self) -> ClientObserver | None:
        """Observes what all brokers have in common: the items of ``map``."""
        return self._first.observer

    @property
    def call_timeout(self) -> float | None:
        """Timeout of calls that are given none, in seconds; ``None``: no limit."""
        return self._first.call_timeout

    @property
    def _first(self) -> Client:
        return self._links[self._shards.shards[0].name].engine

    async def call(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        observed: CallObserver | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on a worker of one of the brokers, and return its result.

        Raises:
            RabiBridgeError: as :meth:`~rabibridge_core._client.client.Client.call`, by the last broker that was asked.
        """

        def send(engine: Client, chosen: AnyOptions) -> Awaitable[Any]:
            return engine.call(func_name, args, kwargs, chosen, observed)

        return await self._send(func_name, options, send)

    def broadcast(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        adapt: Callable[[Any], Any] | None,
    ) -> ShardedBroadcast[Any]:
        """Return a broadcast to all brokers, or to that of the key.

        Raises:
            ConfigurationError: as :meth:`~rabibridge_core._client.broadcasting.Broadcaster.broadcast`.
            TypeError: as there.
        """
        names = list(self._links) if self._key is None else [self.shard_of(self._key)]
        links = {name: self._links[name] for name in names}
        senders = {
            name: (link, Broadcaster(link.engine.preparation).sender(func_name, args, kwargs, options, adapt))
            for name, link in links.items()
        }
        return ShardedBroadcast(ShardedSending(func_name, senders), func_name)

    async def notify(self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions) -> None:
        """Send ``func_name(*args, **kwargs)`` to one of the brokers.

        Raises:
            RabiBridgeError: as :func:`~rabibridge_core._client.notify.notify`.
        """

        def send(engine: Client, chosen: AnyOptions) -> Awaitable[None]:
            return notify(engine.preparation, func_name, args, kwargs, chosen)

        await self._send(func_name, options, send)

    async def _send(
        self, func_name: str, options: AnyOptions, send: Callable[[Client, AnyOptions], Awaitable[Any]]
    ) -> Any:
        timeout, shards, links = self.call_timeout, self._shards, self._links
        attempts = Attempts(shards, links, self._key, func_name, options, timeout)
        while True:
            shard = attempts.next_shard() or await attempts.wait()
            engine, began = links[shard.name].engine, attempts.now
            shard.sent(func_name, began)
            try:
                result = await send(engine, attempts.options_for(engine))
            except (CallError, ConnectionLostError) as error:
                if engine.calls.closed or not attempts.goes_on(shard, engine, error):
                    attempts.explain(error)
                    raise
            else:
                shard.took(func_name, attempts.now - began, attempts.now)
                return result
            finally:
                shard.ended(func_name)

"""What a client of several brokers and its views do in another way than a client of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rabibridge_core._api.calls import Calls, ClientView
from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.sharded import ShardedEngine
from rabibridge_core._client.targets import target_of
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._api.calls import Viewed
    from rabibridge_core._client.broadcast import Broadcast
    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.options import GivenOptions
    from rabibridge_core._client.targets import CallTarget

__all__ = ["KeyedCalls", "ShardedCalls", "ShardedView", "check_shards"]


class ShardedCalls(Calls):
    """What the client and its views do in another way than a client of one broker."""

    __slots__ = ()

    def _engine(self) -> ShardedEngine:
        raise NotImplementedError

    async def notify(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Let one of the servers of one broker run a function, as :meth:`RpcClient.notify` does.

        Args:
            func: as in :meth:`RpcClient.call`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            RabiBridgeError: as there, by the last broker that was asked.
            TypeError: ``func`` stands for no service.
        """
        target = target_of(func)
        _, options = self._prepare(target.kind)
        persistent = self._given.persistent is not False
        await self._engine().notify(target.name, args, kwargs, CallOptions(*options)._replace(persistent=persistent))

    def _broadcast(self, target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Broadcast[Any]:
        _, options = self._prepare(target.kind)
        return self._engine().broadcast(target.name, args, kwargs, options, target.adapt)


class ShardedView(ShardedCalls, ClientView):
    """A :class:`ShardedClient` with other options for its calls, or with a key."""

    __slots__ = ()

    def _engine(self) -> ShardedEngine:
        engine = self._of._client
        assert isinstance(engine, ShardedEngine)
        return engine

    def _view(self, given: GivenOptions) -> ShardedView:
        return ShardedView(self._of, given.over(self._given))


class KeyedCalls:
    """What a view belongs to whose calls have a key."""

    __slots__ = ("_client", "_of", "_retry")

    def __init__(self, of: Viewed, engine: ShardedEngine) -> None:
        """Call by ``engine``, for the client ``of``."""
        self._of = of
        self._client: CallEngine = engine
        self._retry = of._retry

    def __repr__(self) -> str:
        """Show the client."""
        return repr(self._of)


def check_shards(shards: object) -> None:
    """Check that these are brokers with names or without.

    Raises:
        ConfigurationError: they are not.
    """
    if isinstance(shards, Mapping):
        names, urls = list(shards), list(shards.values())
    elif isinstance(shards, Sequence) and not isinstance(shards, str):
        names, urls = [], list(shards)
    else:
        names, urls = [], []
    texts = all(isinstance(name, str) and name for name in names)
    if not urls or not texts or (not names and not all(isinstance(url, str) for url in urls)):
        raise ConfigurationError(
            "shards= must be a dict of the names of brokers and their URLs, or a list of URLs, one for each broker"
        )

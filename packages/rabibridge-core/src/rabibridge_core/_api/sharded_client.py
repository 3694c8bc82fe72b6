"""A client for several independent brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack

from rabibridge_core._api.client import RpcClient
from rabibridge_core._api.shard_connecting import reach
from rabibridge_core._api.sharded_calls import KeyedCalls, ShardedCalls, ShardedView, check_shards
from rabibridge_core._client.options import NOTHING_GIVEN, chosen_options
from rabibridge_core._client.shard_link import ShardLink, first_of
from rabibridge_core._client.sharded import ShardedEngine
from rabibridge_core._client.shards import Shard, ShardSet
from rabibridge_core._concurrency.home_loop import running_loop
from rabibridge_core._observability.health import Health
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, RabiBridgeError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from types import TracebackType

    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.options import AnyOptions, GivenOptions, OptionArguments
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["ShardedClient"]


class ShardedClient(ShardedCalls):
    """Calls functions that servers offer at several independent brokers: each call goes to one of them.

    A broker that fails takes only its share with it: other calls go on, calls that are idempotent go to another broker,
    and new calls do, too. It reconnects automatically. docs/several-brokers.md says how to serve all brokers.

    A call goes to the less loaded one of two brokers that are drawn at random, by the calls that are pending there and
    the time that they take. One that a full queue has refused goes to one other broker, and one that nobody serves goes
    to the others in turn. Calls of :meth:`for_key` go to the broker of their key. A stream stays with its broker.

    Example::

        async with ShardedClient({"a": "amqp://calls:x@rabbit-a/", "b": "amqp://calls:x@rabbit-b/"}) as client:
            print(await client.call(fibonacci, 10))
            print(await client.for_key("customer 42").call("balance", 42))

    Attributes:
        name: its name in logs and errors.
        shards: the clients of the brokers, by name, for what concerns one broker: ``ping``, ``workers``, ``services``.
    """

    def __init__(
        self,
        shards: Mapping[str, str | Sequence[str]] | Sequence[str],
        *,
        retry: RetryRefused | None = None,
        serializer: str | Serializer | None = None,
        accept: Sequence[str | Serializer] | None = None,
        name: str | None = None,
        namespace: str | None = None,
    ) -> None:
        """Collect the settings; what is not given here is taken from the environment or the configuration file.

        Args:
            shards: the URL of each broker by a name for it, or the URLs of all nodes of a cluster; or only the URLs,
                each of which is its own name then. Names decide which keys a broker gets, so they should stay the same
                when a URL changes.
            retry: how calls are sent again that full queues refuse, after another broker has refused them, too;
                ``None``: not at all.
            serializer: as in :class:`RpcClient`.
            accept: as there.
            name: its name in logs; those of the connections begin with it. ``None``: class, host and process id.
            namespace: as there.

        Raises:
            ConfigurationError: there is no broker, one is given twice, or a setting is missing or wrong.
        """
        try:
            check_shards(shards)
            self.shards: dict[str, RpcClient] = {}
            for item in shards.items() if isinstance(shards, Mapping) else shards:
                shard, url = (None, item) if isinstance(item, str) else item
                client = RpcClient(url=url, retry=retry, serializer=serializer, accept=accept, namespace=namespace)
                shard = str(client.settings.endpoints[0]) if shard is None else shard
                if shard in self.shards:
                    raise ConfigurationError(f"shards= names the broker {shard} twice")
                self.shards[shard] = client
        finally:
            del shards  # an error carries this frame, whose variables may be reported
        first = next(iter(self.shards.values()))
        self.name = name or first.name.replace(type(first).__name__, type(self).__name__)
        self._retry = retry
        self._links = {shard: self._link_to(client) for shard, client in self.shards.items()}
        self._client = ShardedEngine(self.name, ShardSet([Shard(*link) for link in self._links.items()]), self._links)
        self._reaching: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        """Show the states of the connections."""
        states = ", ".join(f"{name}: {client.state.value}" for name, client in self.shards.items())
        return f"<{type(self).__name__} {self.name!r} {states}>"

    def _engine(self) -> ShardedEngine:
        return self._client

    def _prepare(self, kind: FunctionKind) -> tuple[CallEngine, AnyOptions]:
        return self._client, NOTHING_GIVEN.of_a_call(kind, self._retry)

    def _view(self, given: GivenOptions) -> ShardedView:
        return ShardedView(self, given)

    def for_key(self, key: str) -> ShardedView:
        """Return a view whose calls all go to the same broker, that of ``key``.

        They leave it only if that broker cannot be reached and they are made with ``idempotent=True``. With a broker
        more or less, only its own share of the keys moves.

        Args:
            key: any text, such as the id of a customer.

        Raises:
            TypeError: it is no text.
        """
        if not isinstance(key, str):
            raise TypeError(f"the key is {repr(key)[:80]}; it must be a text")
        return ShardedView(KeyedCalls(self, self._client.with_key(key)), NOTHING_GIVEN)

    def shard_of(self, key: str) -> str:
        """Return the name of the broker of a key."""
        return self._client.shard_of(key)

    def _link_to(self, client: RpcClient) -> ShardLink:
        return ShardLink(lambda: client._client, self._gone("not connected: await connect() first"))

    @property
    def pending(self) -> int:
        """The number of calls that wait for their reply."""
        return sum(client.pending for client in self.shards.values())

    def health(self) -> Health:
        """Report whether calls can be sent to one of the brokers; the reasons say why not to the others."""
        found = {name: client.health() for name, client in self.shards.items()}
        ok = [health for health in found.values() if health.ok]
        state = (ok or list(found.values()))[0].state
        reasons = tuple(f"{name}: {reason}" for name, health in found.items() for reason in health.reasons)
        return Health(bool(ok), state, reasons)

    async def connect(self) -> Self:
        """Connect to all brokers, and return when the first is reached; no effect when connected.

        Brokers that cannot be reached are tried again as long as the client is open.

        Raises:
            ConnectionLostError: none could be reached within ``connect_timeout``, or the client was closed meanwhile.
            ConfigurationError: they refuse permanently, the client is connected on another event loop, or no asyncio
                event loop runs here.
        """
        if not self._is_live():
            for link in self._links.values():
                link.begin()
            self._reaching = [
                asyncio.create_task(reach(self.name, name, client, self._links[name]), name=f"{self.name} {name}-reach")
                for name, client in self.shards.items()
            ]
        try:
            await first_of([link.attempted for link in self._links.values()])
        except RabiBridgeError as error:
            unreachable = self._unreachable()  # closing replaces the reasons
            await self.close()
            raise unreachable from error
        except BaseException:
            await self.close()
            raise
        return self

    def _gone(self, why: str) -> ConnectionLostError:
        return ConnectionLostError(f"{self.name} is {why}", executed=False)

    def _is_live(self) -> bool:
        """Whether it is connected, or connecting, and not on an event loop that is gone."""
        loop = running_loop(self.name)
        if any(task.get_loop() is loop and not task.done() for task in self._reaching):
            return True
        over = (ConnectionState.IDLE, ConnectionState.CLOSED)
        return any(client.state not in over for client in self.shards.values())

    def _unreachable(self) -> ConnectionLostError | ConfigurationError:
        refused = all(isinstance(link.error, ConfigurationError) for link in self._links.values())
        text = self._errors()
        if refused:
            return ConfigurationError(f"{self.name} is refused by every broker: {text}")
        return ConnectionLostError(f"{self.name} reaches none of its brokers: {text}", executed=False)

    def _errors(self) -> str:
        """Why the brokers are not reached."""
        errors = {name: link.error or self.shards[name].last_error for name, link in self._links.items()}
        return "; ".join(f"{name}: {error}" for name, error in errors.items() if error is not None)

    async def close(self) -> None:
        """Disconnect from all brokers; pending calls end with ConnectionLostError. No effect when closed.

        The client may be connected again afterwards.

        Raises:
            ConfigurationError: the client is connected on another event loop, which is not closed.
        """
        for link in self._links.values():
            link.end(self._gone("closed"))
        here = [task for task in self._reaching if task.get_loop() is asyncio.get_running_loop()]
        for task in here:
            task.cancel()
        await asyncio.gather(*here, return_exceptions=True)
        outcomes = await asyncio.gather(*(each.close() for each in self.shards.values()), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def __aenter__(self) -> Self:
        """Connect."""
        return await self.connect()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        **options: Unpack[OptionArguments],
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on a server of one of the brokers and return its result.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            ftype: as in :meth:`RpcClient.remote_call`.
            **options: as in :meth:`options`.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.remote_call`, by the last broker that was asked.
            TypeError: an option is unknown, ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as
                keys.
        """
        return await self._view(chosen_options(options)).remote_call(func_name, args, kwargs, ftype)

    async def try_remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        **options: Unpack[OptionArguments],
    ) -> tuple[bool, tuple[int, Any]]:
        """Call like :meth:`remote_call`, but return failures instead of raising them, as RpcClient does.

        Raises:
            TypeError: as there.
        """
        return await self._view(chosen_options(options)).try_remote_call(func_name, args, kwargs, ftype)

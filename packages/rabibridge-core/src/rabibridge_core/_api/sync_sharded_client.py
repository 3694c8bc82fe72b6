"""The synchronous client for several independent brokers."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

from rabibridge_core._api.sharded_client import ShardedClient
from rabibridge_core._api.sync_calls import SyncCalls, SyncClientView
from rabibridge_core._api.sync_client_base import SyncClientBase
from rabibridge_core._api.sync_introspection import SyncIntrospectionCalls
from rabibridge_core._api.sync_sharded_connection import KeyedConnection, ShardConnection, SyncShardedConnection
from rabibridge_core._client.options import NOTHING_GIVEN, chosen_options

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions, GivenOptions, OptionArguments
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core._observability.health import Health
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import ConnectionState

__all__ = ["SyncShard", "SyncShardedClient"]


class SyncShardedClient(SyncClientBase[SyncShardedConnection]):
    """Calls functions that servers offer at several independent brokers, from code that is not async.

    Each call goes to one of the brokers, as :class:`ShardedClient` describes, with the same errors, and blocks its
    thread until it has ended. Threads, forks, interruptions and the end of the program are as for
    :class:`SyncRpcClient`: one client per process is enough, it may be made at module level, and the first call
    connects.

    Example::

        client = SyncShardedClient({"a": "amqp://calls:x@rabbit-a/", "b": "amqp://calls:x@rabbit-b/"})
        print(client.call(fibonacci, 10))
        print(client.for_key("customer 42").options(timeout=5).call("balance", 42))
    """

    def __init__(
        self,
        shards: Mapping[str, str | Sequence[str]] | Sequence[str],
        *,
        retry: RetryRefused | None = None,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
        serializer: str | Serializer | None = None,
        accept: Sequence[str | Serializer] | None = None,
        name: str | None = None,
        namespace: str | None = None,
    ) -> None:
        """Collect the settings.

        Args:
            shards: the URL of each broker by a name for it, or only the URLs, as for :class:`ShardedClient`.
            retry: how calls are sent again that full queues refuse, after another broker has refused them, too;
                ``None``: not at all.
            loop_factory: makes the event loop; ``None``: uvloop's if that is installed, else asyncio's.
            serializer: as in :class:`RpcClient`.
            accept: as there.
            name: its name in logs; those of the connections begin with it. ``None``: class, host and process id.
            namespace: as there.

        Raises:
            ConfigurationError: there is no broker, one is given twice, a setting is missing or wrong, or gevent or
                eventlet has replaced the threads of Python.
        """
        self._arguments = _Arguments(shards, serializer, accept, name, namespace)
        del shards  # an error carries this frame, whose variables may be reported
        self._begin(retry, loop_factory)

    def _new_connection(self) -> SyncShardedConnection:
        given = self._arguments
        client = ShardedClient(
            given.shards,
            retry=self._retry,
            serializer=given.serializer,
            accept=given.accept,
            name=given.name,
            namespace=given.namespace,
        )
        return SyncShardedConnection(client, self._loop_factory)

    def __repr__(self) -> str:
        """Show the states of the connections."""
        if not hasattr(self, "_of_process"):
            return f"<{type(self).__name__}, not initialized>"
        states = ", ".join(f"{name}: {client.state.value}" for name, client in self._here.client.shards.items())
        return f"<{type(self).__name__} {self.name!r} {states}>"

    @property
    def shards(self) -> Mapping[str, SyncShard]:
        """The clients of the brokers, by name, for what concerns one broker: ``ping``, ``workers``, ``state``."""
        return MappingProxyType({name: SyncShard(self, name) for name in self._connection.client.shards})

    def for_key(self, key: str) -> SyncClientView:
        """Return a view whose calls all go to the same broker, that of ``key``.

        They leave it only if that broker cannot be reached and they are made with ``idempotent=True``.

        Args:
            key: any text, such as the id of a customer.

        Raises:
            TypeError: it is no text.
        """
        self._connection.client.for_key(key)
        return SyncClientView(_Keyed(self, key), NOTHING_GIVEN)

    def shard_of(self, key: str) -> str:
        """Return the name of the broker of a key."""
        return self._connection.client.shard_of(key)

    def remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        **options: Unpack[OptionArguments],
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on a server of one of the brokers, wait, and return its result.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            ftype: as in :meth:`RpcClient.remote_call`.
            **options: as in :meth:`options`.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.remote_call`, by the last broker that was asked.
            ConfigurationError: this thread runs an event loop, which the call would block.
            TypeError: an option is unknown, ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as
                keys.
        """
        return self._view(chosen_options(options)).remote_call(func_name, args, kwargs, ftype)

    def try_remote_call(
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
        return self._view(chosen_options(options)).try_remote_call(func_name, args, kwargs, ftype)


class SyncShard(SyncCalls, SyncIntrospectionCalls):
    """The client of one of the brokers of a :class:`SyncShardedClient`, which connects and closes it."""

    __slots__ = ("_name", "_of", "_retry")

    def __init__(self, of: SyncShardedClient, name: str) -> None:
        """Call at the broker ``name``; made by the client."""
        self._of = of
        self._name = name
        self._retry = of._retry

    def __repr__(self) -> str:
        """Show the state of the connection."""
        return f"<{type(self).__name__} {self._name!r} of {self._of.name!r}: {self.state.value}>"

    @property
    def _here(self) -> ShardConnection:
        return ShardConnection(self._of._here, self._name)

    def _prepare(self, kind: FunctionKind) -> tuple[ShardConnection, AnyOptions]:
        return self._here, self._of._prepare(kind)[1]

    def _view(self, given: GivenOptions) -> SyncClientView:
        return SyncClientView(self, given)

    @property
    def state(self) -> ConnectionState:
        """The state of the connection to that broker."""
        return self._here.client.state

    @property
    def last_error(self) -> Exception | None:
        """The last error of that connection: why there is none. ``None`` while it is up."""
        return self._here.client.last_error

    @property
    def pending(self) -> int:
        """The number of calls that wait for their reply there, of all threads."""
        return self._here.client.pending

    def health(self) -> Health:
        """Report whether calls can be sent there; if not, the reasons say why."""
        return self._here.client.health()


class _Keyed:
    """What a view belongs to whose calls have a key."""

    __slots__ = ("_key", "_of", "_retry")

    def __init__(self, of: SyncShardedClient, key: str) -> None:
        self._of, self._key = of, key
        self._retry = of._retry

    def __repr__(self) -> str:
        """Show the client."""
        return repr(self._of)

    @property
    def _here(self) -> KeyedConnection:
        return KeyedConnection(self._of._here, self._key)


class _Arguments:
    """The arguments of a client, passwords included, which no repr and no dump of attributes shows."""

    __slots__ = ("accept", "name", "namespace", "serializer", "shards")

    def __init__(
        self,
        shards: Mapping[str, str | Sequence[str]] | Sequence[str],
        serializer: str | Serializer | None,
        accept: Sequence[str | Serializer] | None,
        name: str | None,
        namespace: str | None,
    ) -> None:
        self.shards, self.serializer, self.accept, self.name, self.namespace = (
            shards, serializer, accept, name, namespace,
        )  # fmt: skip

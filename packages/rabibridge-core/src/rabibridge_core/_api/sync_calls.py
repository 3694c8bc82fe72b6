"""All ways of calling for threads without an event loop, as a synchronous client and its views offer them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, overload

from rabibridge_core._api.sync_bulk_calls import SyncBulkCalls
from rabibridge_core._api.sync_other_calls import SyncOtherCalls
from rabibridge_core._api.sync_progress import check_on_progress
from rabibridge_core._api.sync_streams import SyncStreamCalls
from rabibridge_core._api.sync_stub_calls import SyncStubCalls
from rabibridge_core._client.options import GivenOptions
from rabibridge_core._client.rare_options import RareOptions
from rabibridge_core._client.targets import target_of
from rabibridge_core._observability.call_context import current_call_var, inherited_headers
from rabibridge_core.errors import RabiBridgeError, RemoteExecutionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from rabibridge_core._api.sync_connection_calls import ConnectionCalls
    from rabibridge_core._client.circuit import CircuitBreaker
    from rabibridge_core._client.hedge import AnyHedge
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import Headers

__all__ = ["SyncCalls", "SyncClientView"]

P = ParamSpec("P")
R = TypeVar("R")


class SyncCalls(SyncStubCalls, SyncStreamCalls, SyncOtherCalls, SyncBulkCalls):
    """All ways of calling: what a synchronous client and its views have in common."""

    __slots__ = ()

    @abstractmethod
    def _view(self, given: GivenOptions) -> SyncClientView:
        """Return a view with these options over those that were chosen before."""

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    def call(self, func: Callable[P, Awaitable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, func: Callable[P, R], /, *_args: P.args, **_kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, func: str, /, *_args: Any, **_kwargs: Any) -> Any: ...
    def call(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function on one of the servers, wait, and return its result.

        All arguments but the first belong to the function, whatever their names are. Options such as a timeout are
        given before: ``client.options(timeout=2.0).call(add, 1, 2)``.

        Type checkers see the signature of the function: ``client.call(add, 1, 2)`` has the type of the result of
        ``add``, whether it is a ``def`` or an ``async def``.

        Args:
            func: the function that is registered, a function of the same name and signature, or the name of the
                service, as for :meth:`RpcClient.call`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.remote_call`, which ends in the same way and with the same errors.
            ConfigurationError: this thread runs an event loop, which the call would block.
            TypeError: ``func`` stands for no service, such as a class, a lambda or a generator function.
        """
        return self._call(func, target_of(func), args, kwargs)

    def options(
        self,
        *,
        kind: FunctionKind | None = None,
        timeout: float | timedelta | None = None,
        idempotent: bool | None = None,
        idempotency_key: str | None = None,
        persistent: bool | None = None,
        inherit_deadline: bool | None = None,
        retry: RetryRefused | Literal[False] | None = None,
        headers: Headers | None = None,
        criticality: str | None = None,
        idle_timeout: float | timedelta | None = None,
        on_progress: OnProgress | None = None,
        hedge: AnyHedge | None = None,
        breaker: CircuitBreaker | Literal[False] | None = None,
    ) -> SyncClientView:
        """Return a view of this client whose calls are made with these options.

        A view costs about a microsecond and works as long as its client does, in any thread, and after a fork. It may
        be made for one call, or kept and shared. The options of a view of a view are added to those of the first.

        Args:
            kind: which functions are called: ``"async"``, ``"sync"`` or ``"any"``. ``None`` (the default, like for all
                arguments): what is known of the function.
            timeout: for each whole call, in seconds or as a timedelta. ``None``: as before, at last the setting
                ``call_timeout``; ``math.inf``: no limit but the service's own.
            idempotent: running a call twice does no harm; it is sent again after a lost connection.
            idempotency_key: of all calls of a service with the same key, a worker runs one. Implies ``idempotent``.
            persistent: the broker stores the call on disk, and it runs even if this client is gone by then.
            inherit_deadline: ``False``: a call made by a function that is itself being called may take longer than it.
            retry: how a call is sent again if the queue is full; ``False``: not at all.
            headers: further headers of the request, which the function finds in ``current_call().headers``.
            criticality: the class that the call belongs to, such as ``"batch"``: it waits in the queue of that class,
                behind more important ones. A service without that class serves it as a call that names none. Calls
                that the function makes are of this class, too, unless they name another one.
            idle_timeout: of streams: the longest wait for an item, the first one included, in seconds or as a
                timedelta; ``timeout`` is for the whole stream.
            on_progress: called with a :class:`~rabibridge_core.Progress` for what the function reports with
                ``current_call().progress()``, in the thread that waits for the result. While it runs, newer reports
                replace each other; what it raises is logged. ``map``, ``starmap``, ``notify`` and ``broadcast`` do
                without.
            hedge: when a second copy of a call is sent that has no answer yet, to another worker if that can be; the
                first answer counts, and the other copy is cancelled. It is for calls that may run twice: other calls,
                and those with an ``idempotency_key`` or ``on_progress``, have none; nor have streams, ``notify`` and
                ``broadcast``. A number is a percentile: ``0.95`` sends it after the time in which 95 % of the calls of
                the service are answered; a timedelta is a time; a :class:`~rabibridge_core.Hedge` has a budget, too;
                ``False``: none.
            breaker: the circuit breaker of each service that is called so: while too many calls fail, further ones are
                not sent, and end with :class:`~rabibridge_core.CircuitOpenError`. ``False``: none. It is for calls with
                one result, not for streams, uploads, ``notify`` and ``broadcast``.

        Raises:
            ConfigurationError: an option has a wrong type or value. :meth:`RpcClient.remote_call` describes them all.
        """
        chosen = GivenOptions(
            kind,
            timeout,
            idempotent,
            idempotency_key,
            persistent,
            inherit_deadline,
            retry,
            headers,
            criticality,
            idle_timeout,
            on_progress,
            hedge,
            breaker,
        )
        chosen.check()
        return self._view(chosen)


class Viewed(Protocol):
    """The synchronous client that a view belongs to."""

    _retry: RetryRefused | None

    @property
    def _here(self) -> ConnectionCalls: ...


class SyncClientView(SyncCalls):
    """A synchronous client with other options for its calls, made by :meth:`SyncRpcClient.options`."""

    __slots__ = ("_given", "_of")

    def __init__(self, of: Viewed, given: GivenOptions) -> None:
        """Call by the client ``of``, with the options that were given.

        Raises:
            ConfigurationError: ``on_progress`` is an async function.
        """
        check_on_progress(given.on_progress)
        self._of = of
        self._given = given

    def __repr__(self) -> str:
        """Show the client and the options."""
        chosen = (f"{name}={value!r}" for name, value in self._given._asdict().items() if value is not None)
        return f"<{type(self).__name__} of {self._of!r}: {', '.join(chosen) or 'no options'}>"

    def _prepare(self, kind: FunctionKind) -> tuple[ConnectionCalls, AnyOptions]:
        options = self._given.of_a_call(kind, self._of._retry)
        if current_call_var.get() is not None:
            options = (*options[:7], _inheriting(options[7]))
        return self._of._here, options

    def _view(self, given: GivenOptions) -> SyncClientView:
        return SyncClientView(self._of, given.over(self._given))

    def remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
    ) -> Any:
        """Call like :meth:`SyncRpcClient.remote_call`, with the options of this view; its ``kind`` replaces ``ftype``.

        Raises:
            RabiBridgeError: as there.
            TypeError: as there.
        """
        connection, options = self._prepare(ftype)
        return self._run(connection, func_name, args, kwargs, options)

    def try_remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
    ) -> tuple[bool, tuple[int, Any]]:
        """Call like :meth:`SyncRpcClient.try_remote_call`, with the options of this view.

        Raises:
            TypeError: as there.
        """
        try:
            return True, (0, self.remote_call(func_name, args, kwargs, ftype))
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)


def _inheriting(headers: Headers | None) -> Headers | None:
    if isinstance(headers, RareOptions):
        return RareOptions(inherited_headers(headers.plain), headers.on_progress, headers.hedge, headers.breaker)
    return inherited_headers(headers)

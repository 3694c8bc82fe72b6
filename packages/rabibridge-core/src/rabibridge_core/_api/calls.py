"""All ways of calling, as a client and its views offer them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rabibridge_core._api.bulk_calls import BulkCalls
from rabibridge_core._api.other_calls import OtherCalls
from rabibridge_core._api.stream_calls import StreamCalls
from rabibridge_core._api.typed_calls import TypedCalls
from rabibridge_core._client.options import GivenOptions
from rabibridge_core.errors import RabiBridgeError, RemoteExecutionError

if TYPE_CHECKING:
    from datetime import timedelta

    from rabibridge_core._client.circuit import CircuitBreaker
    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.hedge import AnyHedge
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import Headers

__all__ = ["Calls", "ClientView"]


class Calls(TypedCalls, StreamCalls, OtherCalls, BulkCalls):
    """All ways of calling: what a client and its views have in common."""

    __slots__ = ()

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
    ) -> ClientView:
        """Return a view of this client whose calls are made with these options.

        A view costs a microsecond or two, holds nothing but its options, and works as long as its client does. It may
        be made for one call, or kept and shared. The options of a view of a view are added to those of the first;
        headers add up.

        Example::

            fast = client.options(timeout=0.5, idempotent=True)
            await fast.call(add, 1, 2)
            await fast.options(headers={"tenant": "a"}).call(add, 1, 2)

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
                ``current_call().progress()``. It may be a coroutine function. While it runs, newer reports
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

    @abstractmethod
    def _view(self, given: GivenOptions) -> ClientView:
        """Return a view with these options over those that were chosen before."""


class Viewed(Protocol):
    """The client that a view belongs to."""

    _retry: RetryRefused | None

    @property
    def _client(self) -> CallEngine: ...


class ClientView(Calls):
    """A client with other options for its calls, made by :meth:`Calls.options`."""

    __slots__ = ("_given", "_of")

    def __init__(self, of: Viewed, given: GivenOptions) -> None:
        """Call by the client ``of``, with the options that were given."""
        self._of = of
        self._given = given

    def __repr__(self) -> str:
        """Show the client and the options."""
        chosen = (f"{name}={value!r}" for name, value in self._given._asdict().items() if value is not None)
        return f"<{type(self).__name__} of {self._of!r}: {', '.join(chosen) or 'no options'}>"

    def _prepare(self, kind: FunctionKind) -> tuple[CallEngine, AnyOptions]:
        of = self._of
        return of._client, self._given.of_a_call(kind, of._retry)

    def _view(self, given: GivenOptions) -> ClientView:
        return ClientView(self._of, given.over(self._given))

    async def remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
    ) -> Any:
        """Call like :meth:`RpcClient.remote_call`, with the options of this view; a ``kind`` of it replaces ``ftype``.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.remote_call`.
            TypeError: as there.
        """
        client, options = self._prepare(ftype)
        return await client.call(func_name, args, kwargs, options)

    async def try_remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
    ) -> tuple[bool, tuple[int, Any]]:
        """Call like :meth:`RpcClient.try_remote_call`, with the options of this view.

        Raises:
            TypeError: as there.
        """
        try:
            return True, (0, await self.remote_call(func_name, args, kwargs, ftype))
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)

"""The client: calls functions in other processes, over any transport."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from rabibridge_core._api.base import RpcBase
from rabibridge_core._api.calls import Calls, ClientView
from rabibridge_core._api.introspection_calls import IntrospectionCalls
from rabibridge_core._client.arguments import check_retry
from rabibridge_core._client.client import Client
from rabibridge_core._client.options import with_rare_options
from rabibridge_core.errors import QueueFullError, RabiBridgeError, RemoteExecutionError
from rabibridge_core.settings.transports import installed_transports

if TYPE_CHECKING:
    from datetime import timedelta

    from rabibridge_core._api.base import RpcOptions
    from rabibridge_core._client.hedge import AnyHedge
    from rabibridge_core._client.options import AnyOptions, GivenOptions
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._observability.health import Health
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import Headers

__all__ = ["RpcClient"]


def _queue_full(transport_settings: type) -> type[QueueFullError]:
    """Return the class of the error with which the transport that has these settings refuses calls."""
    found = (each.refusals()[0] for each in installed_transports() if each.settings is transport_settings)
    return next(found, QueueFullError)


class RpcClient(RpcBase, Calls, IntrospectionCalls):
    """Calls functions that servers offer.

    A client is made for many concurrent calls on one event loop, as in a gateway: one client per process is enough. It
    reconnects automatically.

    Example::

        async with RpcClient(url="memory://example") as client:
            print(await client.call(fibonacci, 10))
            print(await client.options(timeout=5).call("fibonacci", 10))
            print(await client.remote_call("fibonacci", (10,), timeout=5))
    """

    def __init__(self, *, retry: RetryRefused | None = None, **options: Unpack[RpcOptions]) -> None:
        """Collect the settings.

        Args:
            retry: how calls are sent again that a full queue refuses; ``None``: not at all.
            **options: the arguments of :class:`RpcBase`.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        check_retry(retry)
        try:
            super().__init__(**options)
        except BaseException:
            del options  # the error carries this frame, whose variables may be reported
            raise
        self._retry = retry

    def _make_engine(self) -> Client:
        self._client = Client(
            self._transport,
            self._codec,
            hooks=self._observers("client"),
            name=self.name,
            max_pending=self.settings.max_pending,
            call_timeout=self.settings.call_timeout,
            home=self._home,
        )
        # Most calls that find no service have gone to another virtual host or database than its workers.
        self._client.calls.refusals.brokers = " or ".join(map(str, self.settings.endpoints))
        self._client.calls.refusals.queue_full = partial(_queue_full, type(self.settings.transport))
        return self._client

    def _prepare(self, kind: FunctionKind) -> tuple[Client, AnyOptions]:
        return self._client, (kind, None, False, None, False, True, self._retry, None)

    def _view(self, given: GivenOptions) -> ClientView:
        return ClientView(self, given)

    @property
    def correlation_id(self) -> str:
        """A correlation id that no call has. Not needed for calling."""
        return self._client.correlation_id

    @property
    def pending(self) -> int:
        """The number of calls that wait for their reply."""
        return self._client.pending

    @property
    def stray_replies(self) -> int:
        """The number of replies that matched no pending call: late, duplicate or forged ones. They are dropped."""
        return self._client.stray_replies

    async def connect(self) -> Self:
        """Connect; no effect when connected. Call :meth:`close` afterwards, or use ``async with``.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or the client was closed
                meanwhile.
            ConfigurationError: the broker refuses permanently, the client is connected on another event loop, or no
                asyncio event loop runs here.
        """
        return await super().connect()

    async def close(self) -> None:
        """Disconnect; pending calls end with ConnectionLostError. No effect when closed.

        Their workers are told to stop them, except those made with ``persistent=True``, which run to completion. The
        client may be connected again afterwards.

        Raises:
            ConfigurationError: the client is connected on another event loop, which is not closed.
        """
        await super().close()

    def health(self) -> Health:
        """Report whether calls can be sent; if not, the reasons say why.

        It stays true during back-pressure from the broker or the socket, and while ``max_pending`` calls are pending;
        the reasons say so. They also name the services whose circuit breaker is open.
        """
        return self._health(self._client.health)

    async def remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        *,
        timeout: float | timedelta | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | Literal[False] | None = None,
        headers: Headers | None = None,
        hedge: AnyHedge | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on one of the servers and return its result.

        Cancelling the task that awaits the call ends it immediately, and its workers are told: a coroutine function is
        cancelled, a call that has not started never runs, and the result of any other function is dropped.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            ftype: ``"async"`` for a coroutine function, ``"sync"`` for any other, ``"any"`` if the caller does not
                know; RabiBridge 0.1 servers understand only the first two.
            timeout: for the whole call, in seconds or as a timedelta: waiting for a connection, waiting in the queue,
                and running. It travels with the call: at the same deadline the broker drops the call from the queue and
                the worker stops the function. ``None``: the setting ``call_timeout``, one hour by default;
                ``math.inf``: no limit but the service's own.
            idempotent: ``True``: running the call twice does no harm. After a lost connection it is sent again, within
                its timeout; a worker that still runs it, or has answered it within the last minute, repeats the answer
                without running it again. Calls of services that are registered as idempotent are treated likewise as
                soon as this client has received a reply from them.
            idempotency_key: a key of 1 to 200 characters, for the same effect across calls and clients: of all calls of
                a service with the same key, a worker runs one and answers the others with its result, for about a
                minute. Implies ``idempotent``. ``None``: each call has a key of its own.
            persistent: ``True``: the broker stores the call on disk, so that it survives a restart of the broker, and
                it runs even if this client is gone by then. Its reply is not stored.
            inherit_deadline: ``True``: a call made by a function that is itself being called gets no more time than is
                left to that function. ``False``: its timeout is its own.
            retry: how the call is sent again if the queue is full; ``False``: not at all; ``None``: as the client was
                configured.
            headers: further headers of the request, which the function finds in ``current_call().headers``. Names are
                printable ASCII and do not begin with ``rb-``; values are str, bytes, int, float or bool.
            hedge: when a second copy of an idempotent call is sent, as in :meth:`options`.

        Raises:
            QueueFullError: ``queue_size`` calls are waiting already; this one was not queued. Its ``retry_after`` says
                when the backlog will have been worked off, if that is known.
            NoRouteError: there is no such service; the client remains usable.
            CallTimeoutError: the timeout has passed; if the call could not be sent, the error says what it waited for.
                It is also a :class:`TimeoutError`.
            RemoteExecutionError: the function raised; the error has its type, message and traceback.
            InvalidArgumentsError: the arguments do not fit the function; it did not run.
            ConnectionLostError: the connection was lost before the reply arrived, the client is not connected, or the
                worker of an at-most-once service is gone.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the call or the reply is too large, or the reply has a content type that is not
                accepted.
            ConfigurationError: no service can have that name, another argument is out of its range, the broker refuses
                what this client sends because of a missing permission, or the client is connected on another event
                loop, or in a process that this one was forked from.
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as keys.
        """
        again = self._retry if retry is None else None if retry is False else retry
        if hedge is not None:
            headers = with_rare_options(headers, None, hedge)
        options = (ftype, timeout, idempotent, idempotency_key, persistent, inherit_deadline, again, headers)
        return await self._client.call(func_name, args, kwargs, options)

    async def try_remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        *,
        timeout: float | timedelta | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | Literal[False] | None = None,
        headers: Headers | None = None,
        hedge: AnyHedge | None = None,
    ) -> tuple[bool, tuple[int, Any]]:
        """Call like :meth:`remote_call`, with the same arguments, but return failures instead of raising them.

        Returns:
            ``(success, (err_code, result))``. ``(True, (0, result))``: the function's result. ``(True, (1, error))``:
            the call reached the server and failed there, with the RemoteExecutionError. ``(False, (1, error))``: the
            call did not get through, with the error that :meth:`remote_call` raises.

        Raises:
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as keys.
        """
        try:
            result = await self.remote_call(
                func_name,
                args,
                kwargs,
                ftype,
                timeout=timeout,
                idempotent=idempotent,
                idempotency_key=idempotency_key,
                persistent=persistent,
                inherit_deadline=inherit_deadline,
                retry=retry,
                headers=headers,
                hedge=hedge,
            )
            return True, (0, result)
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)

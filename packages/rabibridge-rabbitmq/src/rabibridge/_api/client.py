"""The client: calls functions in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from rabibridge._api.base import RMQBase
from rabibridge_core._client.client import Client
from rabibridge_core.errors import RabiBridgeError, RemoteExecutionError
from rabibridge_core.plugins.call_hooks import CallHooks

if TYPE_CHECKING:
    import asyncio
    import ssl as _ssl
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core._observability.health import Health
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import Transport

__all__ = ["RMQClient"]


class RMQClient(RMQBase):
    """Calls functions that servers offer.

    It is made for many concurrent calls on one event loop, as in a gateway: one client per process is enough. After a
    lost connection it connects again by itself.

    Example::

        async with RMQClient() as client:
            print(await client.remote_call("fibonacci", (10,), timeout=5))
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        url: str | Sequence[str] | None = None,
        virtualhost: str | None = None,
        ssl: _ssl.SSLContext | bool | None = None,
        serializer: str | Serializer | None = None,
        accept: Sequence[str | Serializer] | None = None,
        transport: Transport | None = None,
        name: str | None = None,
        retry: RetryRefused | None = None,
    ) -> None:
        """Collect the settings: those of :class:`RMQBase`, where they are described, and one of its own.

        Args:
            loop: the event loop that :meth:`connect` will run on; ``None``: whichever it is.
            host: one host or several.
            port: port of the hosts that carry none.
            username: user name.
            password: password.
            url: one URL or several, instead of the four before.
            virtualhost: virtual host; ``None``: as configured, else ``/``.
            ssl: ``True`` for TLS, or a context of your own.
            serializer: how calls are encoded; ``None``: as configured, else msgpack.
            accept: which serializers may come in; ``None``: msgpack, json and ``serializer``.
            transport: a transport to use instead of the configured broker, not connected yet.
            name: how the broker lists this connection; ``None``: program, host and process id.
            retry: how calls are sent again that a full queue refuses; ``None``: they are not.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        super().__init__(
            loop,
            host,
            port,
            username,
            password,
            url=url,
            virtualhost=virtualhost,
            ssl=ssl,
            serializer=serializer,
            accept=accept,
            transport=transport,
            name=name,
        )
        self._retry = retry

    def _make_engine(self) -> Client:
        self._client = Client(
            self._transport,
            self._codec,
            hooks=CallHooks(),
            cid_max=self.settings.cid_max,
            name=self.name,
            max_pending=self.settings.max_pending,
            call_timeout=self.settings.call_timeout,
        )
        return self._client

    @property
    def correlation_id(self) -> str:
        """The next id of the counter that numbers the calls; reading it uses one up. Not needed for calling."""
        return self._client.correlation_id

    @property
    def pending(self) -> int:
        """How many calls wait for their reply now."""
        return self._client.pending

    @property
    def stray_replies(self) -> int:
        """How many replies came that no call waited for: late, doubled or forged ones. They are dropped."""
        return self._client.stray_replies

    async def connect(self) -> Self:
        """Connect; without effect when connected. Release it with :meth:`close`, or use ``async with``.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or the client is closed.
            ConfigurationError: the broker refuses for good, or ``loop`` is not the running event loop.
        """
        return await super().connect()

    async def close(self) -> None:
        """Disconnect; calls still under way end with ConnectionLostError. Without effect when closed.

        Their workers are told to stop them, except those made with ``persistent=True``: these run to their end.
        """
        await super().close()

    def health(self) -> Health:
        """Tell whether calls can be sent: true while the connection stands; if not, why not.

        While the broker or the socket asks for a pause, or ``max_pending`` calls are under way, it stays true, and the
        reasons say so.
        """
        return self._client.health()

    async def remote_call(
        self,
        func_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        ftype: FunctionKind = "async",
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | Literal[False] | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on some server and return what it returns.

        Cancelling the task that awaits it ends the call here at once, and its workers are told: a coroutine function is
        cancelled, what has not begun never runs, and the result of any other is dropped.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            ftype: ``"async"`` for a coroutine function, ``"sync"`` for any other, ``"any"`` where the caller does not
                know; with RabiBridge 0.1 servers only the first two.
            timeout: for the whole call, in seconds: waiting for a connection, in the queue, and the function itself.
                It travels with the call: the broker drops it from the queue and the worker stops the function at the
                same deadline. ``None``: the setting ``call_timeout``, an hour unless it is set; ``math.inf``: no
                limit but the service's own.
            idempotent: ``True``: running it twice does no harm. After a lost connection it is sent again, within its
                timeout; a worker that still runs it, or has answered it within the last minute, answers again without
                running it. So are, without being asked, calls of services registered as idempotent, once this client
                has had a reply from them.
            idempotency_key: a text of 1 to 200 characters of your own, for the same effect across calls and clients: of
                calls of one service with the same key, a worker runs one and answers the others with its result, for
                about a minute. It implies ``idempotent``. ``None``: each call has a key of its own.
            persistent: ``True``: the broker keeps the call on disk, so that it survives a restart of the broker, and it
                is run even if this client is gone meanwhile. Its reply is not kept.
            inherit_deadline: a call made by a function that is being called gets no more time than is left to that;
                ``False``: it does.
            retry: how it is sent again if the queue is full; ``False``: it is not; ``None``: as this client was made.

        Raises:
            QueueFullError: as many calls wait as the service allows; nothing was queued. Its ``retry_after`` says when
                they will have been worked off, if that is known. Also an ``aio_pika.exceptions.DeliveryError``.
            NoRouteError: no such service; the client goes on working. Also an ``aiormq.exceptions.PublishError``.
            CallTimeoutError: the time is over; where the call could not be sent, it says what it waited for. Also an
                ``asyncio.TimeoutError``.
            RemoteExecutionError: the function raised; type, message and traceback are in it.
            InvalidArgumentsError: the arguments do not fit the function; it did not run.
            ConnectionLostError: the connection went before the reply came, or the client is not connected; or the
                worker of a service that is at-most-once is gone.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the call or the reply is too large, or the reply of a type that is not accepted.
            ConfigurationError: no service can have that name, another argument is out of its range, or the broker
                refuses what this client sends, for want of a permission.
        """
        again = self._retry if retry is None else retry or None
        return await self._client.call(
            func_name, args, kwargs, ftype, timeout, idempotent, idempotency_key, persistent, inherit_deadline, again
        )

    async def try_remote_call(
        self,
        func_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        ftype: FunctionKind = "async",
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | Literal[False] | None = None,
    ) -> tuple[bool, tuple[int, Any]]:
        """Call as :meth:`remote_call` does, with the same arguments, but return failures instead of raising them.

        Returns:
            ``(success, (err_code, result))``. ``(True, (0, result))``: the function's result. ``(True, (1, error))``:
            the call went through and failed on the server, with the RemoteExecutionError. ``(False, (1, error))``: it
            did not go through, with the error that :meth:`remote_call` raises.
        """
        again = self._retry if retry is None else retry or None
        try:
            result = await self._client.call(
                func_name,
                args,
                kwargs,
                ftype,
                timeout,
                idempotent,
                idempotency_key,
                persistent,
                inherit_deadline,
                again,
            )
            return True, (0, result)
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)

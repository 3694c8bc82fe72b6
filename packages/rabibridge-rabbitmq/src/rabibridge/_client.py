"""The client: calls functions in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rabibridge._base import RMQBase
from rabibridge_core.client import Client
from rabibridge_core.errors import RabiBridgeError, RemoteExecutionError
from rabibridge_core.plugins import CallHooks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core.naming import FunctionKind

__all__ = ["RMQClient"]


class RMQClient(RMQBase):
    """Calls functions that servers offer.

    It is made for many concurrent calls on one event loop, as in a gateway: one client per process is enough. After a
    lost connection it connects again by itself.

    Example::

        async with RMQClient() as client:
            print(await client.remote_call("fibonacci", (10,), timeout=5))
    """

    def _make_engine(self) -> Client:
        self._client = Client(
            self._transport, self._codec, hooks=CallHooks(), cid_max=self.settings.cid_max, name=self.name
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
        """Disconnect; calls still under way end with ConnectionLostError. Without effect when closed."""
        await super().close()

    async def remote_call(
        self,
        func_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        ftype: FunctionKind = "async",
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on some server and return what it returns.

        Cancelling the task that awaits it ends the call here at once; its reply is dropped when it comes.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            ftype: ``"async"`` for a coroutine function, ``"sync"`` for any other, ``"any"`` where the caller does not
                know; with RabiBridge 0.1 servers only the first two.
            timeout: for the whole call, in seconds: waiting for a connection, in the queue, and the function itself.
                It travels with the call: the broker drops it from the queue and the worker stops the function at the
                same deadline. ``None``: no limit but the service's own.

        Raises:
            QueueFullError: as many calls wait as the service allows; nothing was queued. Also an
                ``aio_pika.exceptions.DeliveryError``.
            NoRouteError: no such service; the client goes on working. Also an ``aiormq.exceptions.PublishError``.
            CallTimeoutError: the time is over. Also an ``asyncio.TimeoutError``.
            RemoteExecutionError: the function raised; type, message and traceback are in it.
            InvalidArgumentsError: the arguments do not fit the function; it did not run.
            ConnectionLostError: the connection went before the reply came, or the client is not connected.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the call or the reply is too large, or the reply of a type that is not accepted.
            ConfigurationError: no service can have that name.
        """
        return await self._client.call(func_name, args, kwargs, ftype, timeout)

    async def try_remote_call(
        self,
        func_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        ftype: FunctionKind = "async",
        *,
        timeout: float | None = None,
    ) -> tuple[bool, tuple[int, Any]]:
        """Call as :meth:`remote_call` does, but return failures instead of raising them.

        Returns:
            ``(success, (err_code, result))``. ``(True, (0, result))``: the function's result. ``(True, (1, error))``:
            the call went through and failed on the server, with the RemoteExecutionError. ``(False, (1, error))``: it
            did not go through, with the error that :meth:`remote_call` raises.
        """
        try:
            return True, (0, await self._client.call(func_name, args, kwargs, ftype, timeout))
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)

"""Calls of other shapes: without a reply, and of every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._client.broadcasting import Broadcaster
from rabibridge_core._client.notify import notify
from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core._client.broadcast import Broadcast
    from rabibridge_core._client.targets import CallTarget

__all__ = ["OtherCalls"]

P = ParamSpec("P")
R = TypeVar("R")


class OtherCalls(CallBase):
    """``notify`` and ``broadcast``."""

    __slots__ = ()

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    async def notify(self, func: Callable[P, Any], /, *_args: P.args, **_kwargs: P.kwargs) -> None: ...
    @overload
    async def notify(self, func: str, /, *_args: Any, **_kwargs: Any) -> None: ...
    async def notify(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Let one of the servers run a function, and return when the broker has the call: nobody waits for a reply.

        The broker stores the notification on disk, unless it is made with ``options(persistent=False)``, and it runs
        even if this client is gone by then. It runs at least once, as a call does: again, if its worker dies before it
        is done, and not again if the function raises, which the worker logs. It has no deadline, unless it is made with
        ``options(timeout=...)``: then it does not start after that time, and is stopped at its end.

        Servers of RabiBridge 0.1 drop notifications: call those with ``remote_call``.

        Example::

            await client.notify(send_mail, "a@example.org", subject="Hello")

        Args:
            func: as in :meth:`call`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            QueueFullError: ``queue_size`` calls are waiting already; this one was not queued.
            NoRouteError: there is no such service.
            CallTimeoutError: the broker has not confirmed it within the timeout, or the ``call_timeout`` of the client;
                ``executed`` is ``False`` if it was not sent.
            ConnectionLostError: the connection was lost before the broker had confirmed it, so that it may be queued
                and run, or the client is not connected. An idempotent one is sent again instead.
            RabiBridgeError: as in :meth:`call`.
            TypeError: ``func`` stands for no service.
        """
        target = target_of(func)
        client, options = self._prepare(target.kind)
        persistent = self._given.persistent is not False
        options = CallOptions(*options)._replace(persistent=persistent)
        await notify(client.preparation, target.name, args, kwargs, options)

    @overload
    def broadcast(self, func: Callable[P, Awaitable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> Broadcast[R]: ...
    @overload
    def broadcast(self, func: Callable[P, R], /, *_args: P.args, **_kwargs: P.kwargs) -> Broadcast[R]: ...
    @overload
    def broadcast(self, func: str, /, *_args: Any, **_kwargs: Any) -> Broadcast[Any]: ...
    def broadcast(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Broadcast[Any]:
        """Call a function on every server that offers it now, and iterate over their replies.

        It is sent when the iteration starts, and ends when every server has answered, or at the timeout without an
        error: ``missing`` and ``silent`` of the broadcast say then who has not answered. Without ``options(timeout=)``
        it ends after 10 s, or after the ``call_timeout`` of the client if that is shorter. Leaving the loop early
        cancels what still runs.

        A server runs one broadcast of a service at a time, in addition to the calls that its ``fetch_size`` allows;
        others wait there. It runs each at most once; the options ``idempotent``, ``idempotency_key``, ``persistent``
        and ``retry`` do not matter. The encoded arguments may take 64 KiB.

        Example::

            broadcast = client.options(timeout=5.0).broadcast(reload_prices, "EUR")
            async for reply in broadcast:
                print(reply.worker, reply.error or reply.result)
            print(broadcast.missing, broadcast.silent)

        Args:
            func: as in :meth:`call`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Returns:
            The broadcast. Iterating over it raises NoRouteError if there is no such service, CallTimeoutError if it
            could not be sent within the timeout, ConnectionLostError if the connection is lost before all have
            answered, ContentRejectedError if the arguments are too large, and else the errors of :meth:`call`, except
            those of the function: they are in the replies.

        Raises:
            ConfigurationError: no service can have that name.
            TypeError: ``func`` stands for no service.
        """
        return self._broadcast(target_of(func), args, kwargs)

    def _broadcast(self, target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Broadcast[Any]:
        client, options = self._prepare(target.kind)
        return Broadcaster(client.preparation).broadcast(target.name, args, kwargs, options, target.adapt)

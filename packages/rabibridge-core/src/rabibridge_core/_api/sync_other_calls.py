"""Calls of other shapes by a thread that waits: without a reply, and of every worker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._api.sync_broadcast import SyncBroadcast
from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._client.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["SyncOtherCalls"]

P = ParamSpec("P")
R = TypeVar("R")


class SyncOtherCalls(SyncCallBase):
    """``notify`` and ``broadcast``."""

    __slots__ = ()

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    def notify(self, func: Callable[P, Any], /, *_args: P.args, **_kwargs: P.kwargs) -> None: ...
    @overload
    def notify(self, func: str, /, *_args: Any, **_kwargs: Any) -> None: ...
    def notify(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Let one of the servers run a function, and return when the broker has the call: nobody waits for a reply.

        It is what :meth:`RpcClient.notify` is, with the same guarantees and errors.

        Args:
            func: as in :meth:`call`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.notify`.
            TypeError: ``func`` stands for no service.
        """
        target = target_of(func)
        connection, options = self._prepare(target.kind)
        connection.run(connection.notify, self._given, options, target.name, func, args, kwargs)

    @overload
    def broadcast(
        self, func: Callable[P, Awaitable[R]], /, *_args: P.args, **_kwargs: P.kwargs
    ) -> SyncBroadcast[R]: ...
    @overload
    def broadcast(self, func: Callable[P, R], /, *_args: P.args, **_kwargs: P.kwargs) -> SyncBroadcast[R]: ...
    @overload
    def broadcast(self, func: str, /, *_args: Any, **_kwargs: Any) -> SyncBroadcast[Any]: ...
    def broadcast(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> SyncBroadcast[Any]:
        """Call a function on every server that offers it now, and iterate over their replies.

        It is what :meth:`RpcClient.broadcast` is: sent when the iteration starts, ended when every server has answered
        or at the timeout. Leaving the loop early cancels what still runs.

        Args:
            func: as in :meth:`call`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Returns:
            The broadcast. Iterating over it raises what iterating over that of an :class:`RpcClient` does.

        Raises:
            ConfigurationError: no service can have that name.
            TypeError: ``func`` stands for no service.
        """
        target = target_of(func)
        connection, options = self._prepare(target.kind)
        make = partial(connection.broadcast, self._given, options, target.name, func, args, kwargs)
        return SyncBroadcast(connection, make, target.name)

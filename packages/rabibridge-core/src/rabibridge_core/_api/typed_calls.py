"""Calls of functions by the function itself, which says the name, the kind and all types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._client.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["TypedCalls"]

P = ParamSpec("P")
R = TypeVar("R")


class TypedCalls(CallBase):
    """``call``: the arguments and the result are checked by type checkers as in a local call."""

    __slots__ = ()

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    async def call(self, func: Callable[P, Awaitable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, func: Callable[P, R], /, *_args: P.args, **_kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, func: str, /, *_args: Any, **_kwargs: Any) -> Any: ...
    async def call(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function on one of the servers and return its result.

        All arguments but the first belong to the function, whatever their names are. Options such as a timeout are
        given before: ``client.options(timeout=2.0).call(add, 1, 2)``.

        Type checkers see the signature of the function: ``await client.call(add, 1, 2)`` has the type that ``add``
        returns, whether it is a ``def`` or an ``async def``.

        Example::

            total = await client.call(add, 1, b=2)
            total = await client.call("add", 1, b=2)  # where the function cannot be imported; of type Any

        Args:
            func: the function that is registered, which says name and kind; or a function of the same name and
                signature, whose body does not matter, or the name of the service. The latter two reach a coroutine
                function and any other; servers of RabiBridge 0.1 must be called by ``options(kind=...)`` then.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.remote_call`, which ends in the same way and with the same errors.
            TypeError: ``func`` stands for no service, such as a class, a lambda or a generator function.
        """
        name, kind, adapt = target_of(func)
        client, options = self._prepare(kind)
        result = await client.call(name, args, kwargs, options)
        return result if adapt is None else adapt(result)

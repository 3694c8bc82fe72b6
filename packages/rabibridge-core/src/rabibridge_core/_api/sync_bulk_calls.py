"""Calls for every item of an input, by a thread that waits."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, overload

from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._api.sync_iteration import iterate
from rabibridge_core._client.targets import target_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable

    from rabibridge_core._api.sync_iteration import Iteration

__all__ = ["SyncBulkCalls"]

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class SyncBulkCalls(SyncCallBase):
    """``map`` and ``starmap``."""

    __slots__ = ()

    @overload
    def map(
        self,
        func: Callable[[T], Awaitable[R]],
        inputs: Iterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Generator[R]: ...
    @overload
    def map(
        self,
        func: Callable[[T], Awaitable[R]],
        inputs: Iterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[R | Exception]: ...
    @overload
    def map(
        self,
        func: Callable[[T], R],
        inputs: Iterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Generator[R]: ...
    @overload
    def map(
        self,
        func: Callable[[T], R],
        inputs: Iterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[R | Exception]: ...
    @overload
    def map(
        self,
        func: str,
        inputs: Iterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Generator[Any]: ...
    def map(
        self,
        func: str | Callable[..., Any],
        inputs: Iterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Generator[Any]:
        """Call a function of one argument for each item of an input, and iterate over the results.

        It is what :meth:`RpcClient.map` is: at most ``concurrency`` items are in work, the first error of a call ends
        the loop, and leaving the loop cancels what still runs. The input is drawn in this thread, while it waits for
        the next result; so it may block.

        Args:
            func: the function, a stub or the name of the service, as for :meth:`call`.
            inputs: its arguments, one for each call.
            concurrency: maximum number of items in work.
            ordered: ``True``: results come in the order of the items. ``False``: as they arrive.
            return_exceptions: ``True``: the error of a call comes in the place of its result, and the loop goes on.

        Returns:
            A generator. It begins at the first step. If it may be left before its end, and something else holds it,
            close it by ``close()`` or ``contextlib.closing``.

        Raises:
            ConfigurationError: in the loop: an argument is out of range, or an ``idempotency_key`` was chosen.
            TypeError: ``func`` stands for no service, or the input is not iterable.
        """
        return self._bulk("map", func, inputs, (concurrency, ordered, return_exceptions))

    @overload
    def starmap(
        self,
        func: Callable[[*Ts], Awaitable[R]],
        inputs: Iterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Generator[R]: ...
    @overload
    def starmap(
        self,
        func: Callable[[*Ts], Awaitable[R]],
        inputs: Iterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[R | Exception]: ...
    @overload
    def starmap(
        self,
        func: Callable[[*Ts], R],
        inputs: Iterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Generator[R]: ...
    @overload
    def starmap(
        self,
        func: Callable[[*Ts], R],
        inputs: Iterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[R | Exception]: ...
    @overload
    def starmap(
        self,
        func: str,
        inputs: Iterable[Iterable[Any]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Generator[Any]: ...
    def starmap(
        self,
        func: str | Callable[..., Any],
        inputs: Iterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Generator[Any]:
        """Like :meth:`map`, for a function of several arguments: each item of the input is a tuple of them.

        Args:
            func: as for :meth:`map`.
            inputs: tuples of positional arguments, one for each call.
            concurrency: as for :meth:`map`.
            ordered: as for :meth:`map`.
            return_exceptions: as for :meth:`map`.

        Raises:
            ConfigurationError: as for :meth:`map`.
            TypeError: as for :meth:`map`; in the loop: an item is not a tuple or another iterable of arguments.
        """
        return self._bulk("starmap", func, inputs, (concurrency, ordered, return_exceptions))

    def _bulk(
        self,
        how: Literal["map", "starmap"],
        func: str | Callable[..., Any],
        inputs: Iterable[Any],
        options: tuple[int, bool, bool],
    ) -> Generator[Any]:
        target = target_of(func)
        given = self._given
        connection, chosen = self._prepare(target.kind)
        concurrency, ordered, return_exceptions = options

        async def run(iteration: Iteration[Any]) -> AsyncGenerator[Any]:
            view = await connection.view(given, chosen, target.name)
            many: Callable[..., AsyncGenerator[Any]] = getattr(view, how)
            results = many(
                func,
                iteration.inputs(),
                concurrency=concurrency,
                ordered=ordered,
                return_exceptions=return_exceptions,
            )
            async with aclosing(results):
                async for result in results:
                    yield result

        return iterate(connection, run, iter(inputs))

"""Calls of one function for each item of an input."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, overload

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._client.bulk import BulkOptions, run_bulk
from rabibridge_core._client.rare_options import without_progress
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._client.targets import as_listed_by, target_of
from rabibridge_core._client.timeouts import TIMEOUT_MAX, seconds_of
from rabibridge_core.errors import ConfigurationError, RemoteExecutionError
from rabibridge_core.plugins.observing import observe, start_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

__all__ = ["BulkCalls"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
R = TypeVar("R")


class BulkCalls(CallBase):
    """``map`` and ``starmap``: a bounded number of calls at a time, with the memory for as many."""

    __slots__ = ()

    @overload
    def map(
        self,
        func: Callable[[T], Awaitable[R]],
        inputs: Iterable[T] | AsyncIterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[R]: ...
    @overload
    def map(
        self,
        func: Callable[[T], Awaitable[R]],
        inputs: Iterable[T] | AsyncIterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> AsyncGenerator[R | Exception]: ...
    @overload
    def map(
        self,
        func: Callable[[T], R],
        inputs: Iterable[T] | AsyncIterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[R]: ...
    @overload
    def map(
        self,
        func: Callable[[T], R],
        inputs: Iterable[T] | AsyncIterable[T],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> AsyncGenerator[R | Exception]: ...
    @overload
    def map(
        self,
        func: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Any]: ...
    def map(
        self,
        func: str | Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Any]:
        """Call a function of one argument for each item of an input, and iterate over the results.

        At most ``concurrency`` items are in work: drawn from the input, and their results not yet taken. So the memory
        is bounded whatever the input is, and a loop that takes its time slows the calls down.

        The first error of a call ends the loop: it is raised there, after those results that are ready before it, and
        all other calls are cancelled. So are they if the loop is left, by ``break``, an exception or a cancellation;
        then, generators and async generators that are the input are closed. An error of the input is raised after the
        results of the items before it.

        A call that a full queue refuses waits and is sent again, within its timeout. It takes from the retry budget of
        the client's or the view's ``retry`` (of ``RetryRefused()`` if there is none), as any call. While that is spent,
        a refused call is sent when another call of this loop ends, or after the longest wait of the policy, one at a
        time, and no further items are drawn. With ``options(retry=False)`` a refusal is an error like any other.

        Example::

            async for total in client.options(timeout=10).map(add_up, orders, concurrency=32):
                print(total)

        Args:
            func: the function, a stub or the name of the service, as for :meth:`call`.
            inputs: its arguments, one for each call: an iterable or an async iterable. An iterable runs on the event
                loop, and must not block it.
            concurrency: maximum number of items in work.
            ordered: ``True``: results come in the order of the items; one that takes long holds back up to
                ``concurrency`` others. ``False``: as they arrive.
            return_exceptions: ``True``: the error of a call comes in the place of its result, and the loop goes on.

        Returns:
            An async generator. It begins at the first step. If it may be left before its end, and something else
            holds it, close it by ``aclose()`` or ``contextlib.aclosing``.

        Raises:
            ConfigurationError: an argument is out of range, or an ``idempotency_key`` was chosen: one call has one key.
            TypeError: ``func`` stands for no service, or the input is not iterable.
        """
        options = BulkOptions(concurrency, ordered, return_exceptions)
        return self._bulk(func, inputs, options, _one_argument)

    @overload
    def starmap(
        self,
        func: Callable[[*Ts], Awaitable[R]],
        inputs: Iterable[tuple[*Ts]] | AsyncIterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[R]: ...
    @overload
    def starmap(
        self,
        func: Callable[[*Ts], Awaitable[R]],
        inputs: Iterable[tuple[*Ts]] | AsyncIterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> AsyncGenerator[R | Exception]: ...
    @overload
    def starmap(
        self,
        func: Callable[[*Ts], R],
        inputs: Iterable[tuple[*Ts]] | AsyncIterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[R]: ...
    @overload
    def starmap(
        self,
        func: Callable[[*Ts], R],
        inputs: Iterable[tuple[*Ts]] | AsyncIterable[tuple[*Ts]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> AsyncGenerator[R | Exception]: ...
    @overload
    def starmap(
        self,
        func: str,
        inputs: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Any]: ...
    def starmap(
        self,
        func: str | Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Any]:
        """Like :meth:`map`, for a function of several arguments: each item of the input is a tuple of them.

        Args:
            func: as for :meth:`map`.
            inputs: tuples of positional arguments, one for each call. For type checkers they hold all arguments of the
                function, also those with defaults.
            concurrency: as for :meth:`map`.
            ordered: as for :meth:`map`.
            return_exceptions: as for :meth:`map`.

        Raises:
            ConfigurationError: as for :meth:`map`.
            TypeError: as for :meth:`map`; in the loop: an item is not a tuple or another iterable of arguments.
        """
        options = BulkOptions(concurrency, ordered, return_exceptions)
        return self._bulk(func, inputs, options, _all_arguments)

    def _bulk(
        self,
        func: str | Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        options: BulkOptions,
        arguments: Callable[[Any], tuple[Any, ...]],
    ) -> AsyncGenerator[Any]:
        options.check()
        name, kind, adapt = target_of(func)
        client, (_, given, _, key, _, _, retry, _) = self._prepare(kind)
        if key is not None:
            raise ConfigurationError("idempotency_key names one call, not those of a bulk: use idempotent=True instead")
        timeout = client.call_timeout if given is None else seconds_of(given)
        policy = None if self._given.retry is False else retry or RetryRefused()
        limit = None if timeout is None or timeout >= TIMEOUT_MAX else timeout

        async def call(item: Any, left: float | None, again: bool) -> Any:
            engine, (of_kind, given, idempotent, key, persistent, inherit, _, headers) = self._prepare(kind)
            within = given if left is None else left
            once_more = None if again else policy
            chosen = (of_kind, within, idempotent, key, persistent, inherit, once_more, without_progress(headers))
            try:
                if (observer := engine.observer) is None:
                    result = await engine.call(name, arguments(item), {}, chosen)
                else:
                    result = await observe(observer, "member", name, engine.call, name, arguments(item), {}, chosen)
            except RemoteExecutionError as error:
                if error.code is None:
                    raise
                raise as_listed_by(func, error) from error.__cause__
            return result if adapt is None else adapt(result)

        start = None if client.observer is None else partial(start_call, client.observer, "map", name)
        spend = None
        if policy is not None and policy.budget is not None:
            spend = partial(client.preparation.client.calls.refusals.spend_shared, policy.budget)
        return run_bulk(call, inputs, options._replace(retry=policy, timeout=limit, spend=spend), start)


def _one_argument(item: Any) -> tuple[Any, ...]:
    return (item,)


def _all_arguments(item: Any) -> tuple[Any, ...]:
    if isinstance(item, Iterable):
        return tuple(item)
    raise TypeError(f"an item of starmap is a tuple of arguments, not of type {type(item).__name__}")

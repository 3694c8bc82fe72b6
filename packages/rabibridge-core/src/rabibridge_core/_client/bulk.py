"""One call for each item of an input, a bounded number at a time, and their results as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._client.send_window import SendWindow
from rabibridge_core.errors import ConfigurationError, QueueFullError, RemoteExecutionError
from rabibridge_core.plugins.observing import report

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextvars import Context

    from rabibridge_core.plugins.observers import CallObserver

__all__ = ["BulkCall", "BulkOptions", "run_bulk"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class BulkCall(Protocol[R_co]):
    """Makes the call for one item."""

    async def __call__(self, item: Any, timeout: float | None, again: bool, /) -> R_co:
        """Return the result.

        Args:
            item: the item.
            timeout: what is left of its time, in seconds; ``None``: as much as the options say.
            again: the call was refused before; it neither earns nor takes a token of the retry budget of its service.
        """
        ...


class BulkOptions(NamedTuple):
    """How the items of an input are called for.

    Attributes:
        concurrency: maximum number of items that are drawn and whose results have not left.
        ordered: whether results come in the order of the items.
        return_exceptions: whether an error takes the place of the result, instead of ending the bulk.
        retry: how refused calls wait; ``None``: a refusal is an error like any other.
        timeout: of each call with all its waits, in seconds; ``None`` or infinite: no limit.
        spend: takes a retry from the budget that all services share, and returns whether there was one; ``None``: there
            is no such budget.
    """

    concurrency: int = 64
    ordered: bool = True
    return_exceptions: bool = False
    retry: RetryRefused | None = RetryRefused()
    timeout: float | None = None
    spend: Callable[[], bool] | None = None

    def check(self) -> None:
        """Check what a caller gives.

        Raises:
            ConfigurationError: a value is not allowed.
        """
        size = self.concurrency
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigurationError(f"concurrency is {size!r}; it must be a whole number of at least 1")
        for name in ("ordered", "return_exceptions"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be True or False")


def run_bulk(
    call: BulkCall[R],
    inputs: Iterable[Any] | AsyncIterable[Any],
    options: BulkOptions,
    start: Callable[[], CallObserver] | None = None,
) -> AsyncGenerator[R]:
    """Return the results of calls for each of the inputs.

    Args:
        call: makes one of the calls.
        inputs: the items.
        options: how many at a time, and what becomes of errors.
        start: returns what observes all of them, at the first step; ``None``: nothing does.

    Raises:
        TypeError: the inputs are not iterable.
    """
    if not isinstance(inputs, AsyncIterable | Iterable):
        raise TypeError(f"the input must be an iterable or an async iterable, not of type {type(inputs).__name__}")
    bulk = _Bulk(call, inputs, options)
    return _results(bulk, None) if start is None else _observed_results(bulk, start)


async def _observed_results(bulk: _Bulk[R], start: Callable[[], CallObserver]) -> AsyncGenerator[R]:
    observed, context, count = start(), copy_context(), 0
    context.run(report, observed.enter)
    error: BaseException | None = None
    results = _results(bulk, context)
    try:
        async for result in results:
            count += 1
            yield result
    except BaseException as raised:
        error = raised
        raise
    finally:
        await results.aclose()
        report(observed.ended, error, count)
        error = None  # a frame that keeps the exception which keeps the frame is a cycle


async def _results(bulk: _Bulk[R], context: Context | None) -> AsyncGenerator[R]:
    # The bulk does not know this generator: when nobody holds it any more, it is closed, and ends everything.
    try:
        bulk.start(context)
        while await bulk.wait():
            yield bulk.next_result()
    finally:
        await bulk.close()


class _Bulk(Generic[R]):
    """The state of one bulk: a task that draws items, a task for each call, and the results that have not left."""

    def __init__(self, call: BulkCall[R], inputs: Iterable[Any] | AsyncIterable[Any], options: BulkOptions) -> None:
        self._call = call
        self._inputs = inputs
        self._iterator: Any = None
        self._concurrency, self._ordered, self._return_exceptions, self._retry, self._timeout, self._spend = options
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._window = SendWindow(options.concurrency, options.retry or RetryRefused(), self._room.set)
        self._outstanding = 0
        """The number of items that were drawn and whose results have not left."""
        self._results: deque[asyncio.Task[R]] = deque()
        """The calls in the order in which their results leave; those that still run only if that is the input's."""
        self._running: set[asyncio.Task[R]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._fed = self._closing = False
        self._failure: BaseException | None = None
        self._input_failure: BaseException | None = None

    def start(self, context: Context | None) -> None:
        """Begin to draw items, in ``context``, as the calls are made; ``None``: in a copy of the caller's."""
        inputs = self._inputs
        self._iterator = aiter(inputs) if isinstance(inputs, AsyncIterable) else iter(inputs)
        self._feeder = asyncio.create_task(self._feed(), name="rabibridge-bulk-input", context=context)
        self._feeder.add_done_callback(self._feeder_ended)

    async def wait(self) -> bool:
        """Wait until there is a result; ``False``: the input is exhausted and all results have left.

        Raises:
            BaseException: the first error of a call; or that of the input, after the results of what it gave before.
        """
        while not (self._results and self._is_result(self._results[0])):
            error = self._failure
            if error is None and self._fed and not self._running:
                error = self._input_failure
                if error is None:
                    return False
            if error is not None:
                try:
                    raise error
                finally:
                    error = self._failure = self._input_failure = None  # a frame that keeps its exception is a cycle
            self._news.clear()
            await self._news.wait()
        return True

    def next_result(self) -> R:
        """Return the result that is ready; or the error in its place."""
        task = self._results.popleft()
        self._outstanding -= 1
        self._room.set()
        error = task.exception()
        return task.result() if error is None else error  # type: ignore[return-value] # with return_exceptions

    async def close(self) -> None:
        """Cancel what is in flight, and close the input."""
        self._closing = True
        self._window.close()
        try:
            await asyncio.gather(*self._cancel(), return_exceptions=True)
        finally:
            await self._close_input()  # the task that draws may have been cancelled before it began

    def _cancel(self) -> list[asyncio.Task[Any]]:
        tasks: list[asyncio.Task[Any]] = [*self._running]
        if self._feeder is not None:
            tasks.append(self._feeder)
        for task in tasks:
            task.cancel()
        return tasks

    def _is_result(self, task: asyncio.Task[R]) -> bool:
        if not task.done() or task.cancelled():
            return False
        error = task.exception()
        return error is None or (self._return_exceptions and isinstance(error, Exception))

    async def _feed(self) -> None:
        """Draw an item only when its call may begin, so that no more of them are held than ``concurrency``."""
        is_async = isinstance(self._inputs, AsyncIterable)
        try:
            while True:
                while self._outstanding >= self._concurrency or not self._window.open:
                    self._room.clear()
                    await self._room.wait()
                try:
                    item = await anext(self._iterator) if is_async else next(self._iterator)
                except (StopIteration, StopAsyncIteration):
                    return
                self._begin(item)
        finally:
            await self._close_input()

    def _begin(self, item: Any) -> None:
        self._outstanding += 1
        self._window.sent()
        task = asyncio.create_task(self._run(item), name="rabibridge-bulk-call")
        self._running.add(task)
        if self._ordered:
            self._results.append(task)
        task.add_done_callback(self._ended)

    async def _run(self, item: Any) -> R:
        """Call for one item, again after each refusal, until its time is over."""
        loop, window, attempts = asyncio.get_running_loop(), self._window, 0
        ends_at = None if self._timeout is None else loop.time() + self._timeout
        left: float | None = None
        while True:
            try:
                result = await self._call(item, left, attempts > 0)
            except QueueFullError as full:
                attempts += full.attempts
                full.attempts = attempts
                left = None if ends_at is None else ends_at - loop.time()
                if self._retry is None or (left is not None and left <= (full.retry_after or 0.0)):
                    window.ended(result=False)
                    raise
                try:
                    async with asyncio.timeout(left):
                        await window.refused(full)
                        while self._spend is not None and not self._spend():
                            await window.refused(full)
                except TimeoutError:
                    raise full from None
                left = None if ends_at is None else ends_at - loop.time()
            except BaseException as error:
                window.ended(result=isinstance(error, RemoteExecutionError))
                raise
            else:
                window.ended(result=True)
                return result

    def _ended(self, task: asyncio.Task[R]) -> None:
        self._running.discard(task)
        if self._is_result(task):
            if not self._ordered:
                self._results.append(task)
        else:
            self._fail(asyncio.CancelledError() if task.cancelled() else task.exception())
        self._news.set()

    def _feeder_ended(self, feeder: asyncio.Task[None]) -> None:
        self._fed = True
        if feeder.cancelled():
            self._fail(asyncio.CancelledError())
        else:
            self._input_failure = feeder.exception()
        self._news.set()

    def _fail(self, error: BaseException | None) -> None:
        """End with the first error, and cancel the rest at once, even if nobody asks for a result now."""
        if self._failure is None and not self._closing:
            self._failure = error
            self._closing = True
            self._cancel()

    async def _close_input(self) -> None:
        iterator, self._iterator = self._iterator, None
        try:
            if isinstance(iterator, Generator):
                iterator.close()
            elif isinstance(iterator, AsyncIterator) and (aclose := getattr(iterator, "aclose", None)) is not None:
                await aclose()
        except Exception as error:  # noqa: BLE001 - the program's own code may raise anything
            context = {"message": "the input of a bulk cannot be closed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

"""Streams of a synchronous client: plain iterators, whose items are fetched message by message."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._api.sync_iteration import iterate
from rabibridge_core._api.sync_uploads import Drawing, is_drawn_here
from rabibridge_core._client.stream_targets import stream_target_of
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Iterable, Iterator
    from types import TracebackType

    from rabibridge_core._api.sync_connection import SyncConnection
    from rabibridge_core._api.sync_iteration import Iteration
    from rabibridge_core._client.streaming import Streaming
    from rabibridge_core._client.targets import CallTarget
    from rabibridge_core._codec.annotations import ResultAdapter

__all__ = ["SyncStream", "SyncStreamCalls", "make_sync_stream"]

P = ParamSpec("P")
R = TypeVar("R")
ItemT_co = TypeVar("ItemT_co", covariant=True)
_NO_TYPES: frozenset[type] = frozenset()


class _Reader:
    """The side of the loop: its coroutine functions run there."""

    def __init__(self, make: Callable[[Any], Coroutine[Any, Any, Streaming]]) -> None:
        """Read what ``make`` returns; its argument feeds an argument of the function, if it is not ``None``."""
        self.source: Streaming | None = None
        self._make = make

    async def next_items(self) -> tuple[Any, ...]:
        """Wait for the next items; none: the stream is at its end."""
        try:
            if self.source is None:
                self.source = await self._make(None)
            return _taken(self.source) if await self.source.fetch() else ()
        except asyncio.CancelledError:  # the thread was interrupted
            await self.end()
            raise

    async def read_and_feed(self, iteration: Iteration[Any]) -> AsyncGenerator[tuple[Any, ...]]:
        """Read the whole stream, and feed it with the inputs of the iteration."""
        self.source = source = await self._make(iteration.inputs())
        try:
            while await source.fetch():
                yield _taken(source)
        finally:
            source.close()

    async def end(self) -> None:
        """Close the stream."""
        if self.source is not None:
            self.source.close()


def _taken(source: Streaming) -> tuple[Any, ...]:
    items = tuple(source.items)
    source.items.clear()
    return items


class SyncStream(Generic[ItemT_co]):
    """The items of a function on a server that gives them one by one, for a thread that waits; made by ``stream``.

    It is an iterator with the guarantees and the errors of :class:`Stream`. Leaving the loop early stops the function:
    when nothing holds the stream any longer, at :meth:`close`, at the end of its ``with`` block, or if the waiting
    thread is interrupted, by Ctrl-C for example. A stream belongs to the process that made it.
    """

    def __init__(
        self,
        connection: SyncConnection,
        make: Callable[[Any], Coroutine[Any, Any, Streaming]],
        name: str,
        adapt: ResultAdapter | None,
        inputs: Iterator[Any] | None = None,
    ) -> None:
        """Read a stream on the loop of ``connection``. Made by the client.

        Args:
            connection: runs it.
            make: makes it there; its argument feeds one of the function, if ``inputs`` are given.
            name: the name of the service.
            adapt: restores items; ``None``: they stay as they are.
            inputs: what feeds an argument; it is drawn from in the thread that reads.
        """
        self._connection = connection
        self._reader = _Reader(make)
        self._name = name
        self._adapt = adapt
        self._exact = _NO_TYPES if adapt is None else adapt.exact
        self._items: deque[Any] = deque()
        self._closed = False
        self._chunks: Generator[tuple[Any, ...]] | None = None
        if inputs is not None:
            self._chunks = iterate(connection, self._reader.read_and_feed, inputs, Drawing())

    @property
    def _source(self) -> Streaming | None:
        return self._reader.source

    def __repr__(self) -> str:
        """Show the service and how far it has come."""
        over = self._closed or (self._source is not None and self._source.over and not self._items)
        return f"<{type(self).__name__} of {self._name!r}: {self.received} items, {'ended' if over else 'open'}>"

    @property
    def received(self) -> int:
        """The number of items that were taken from this stream."""
        return 0 if self._source is None else self._source.received - len(self._items)

    def __iter__(self) -> Self:
        """Return the stream itself: it can be iterated over once."""
        return self

    def __next__(self) -> ItemT_co:
        """Wait for the next item and return it; the first step sends the call.

        Raises:
            RabiBridgeError: as ``client.stream`` says.
            ConfigurationError: this thread runs an event loop, which the wait would block.
        """
        while not self._items:
            if self._closed or not self._fetch():
                raise StopIteration
        try:
            item: ItemT_co = self._items.popleft()
        except IndexError:  # another thread was faster
            return next(self)
        if self._adapt is None or type(item) in self._exact:
            return item
        try:
            adapted: ItemT_co = self._adapt(item)
        except Exception as error:
            self._misfit(error)
            raise
        return adapted

    def close(self) -> None:
        """End the stream and stop the function; no effect if it has ended."""
        self._closed = True
        self._items.clear()
        if self._source is None or self._source.over or self._connection.pid != os.getpid():
            return
        if self._chunks is not None:
            with suppress(ValueError):  # another thread reads it
                self._chunks.close()
        try:
            with suppress(ConnectionLostError):  # the client is closed: nothing runs there any more
                self._connection.run(self._reader.end)
        except ConfigurationError:  # this thread runs an event loop
            self._connection.call_soon(self._source.close)

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __del__(self) -> None:
        """Stop the function soon, without waiting: this may run in any thread."""
        reader: _Reader | None = getattr(self, "_reader", None)
        if reader is not None and (source := reader.source) is not None and not source.over:
            self._connection.call_soon(source.close)

    def _fetch(self) -> bool:
        """Wait for the next message, and take its items; return whether there are any."""
        if self._connection.pid != os.getpid():
            raise ConnectionLostError(
                f"{self._connection.name}: this stream is that of process {self._connection.pid}, which this one was "
                "forked from: begin a new one"
            )
        try:
            chunks, reader = self._chunks, self._reader
            items = self._connection.run(reader.next_items) if chunks is None else next(chunks, ())
        except BaseException as error:
            if not isinstance(error, Exception):
                self._closed = True
            if self._source is not None and not self._source.over:
                self._connection.call_soon(self._source.close)
            raise
        self._items.extend(items)
        return bool(items)

    def _misfit(self, error: Exception) -> None:
        """End the stream because of an item that is not what the annotation says."""
        source, left = self._source, len(self._items)
        if source is not None:
            self._connection.call_soon(partial(source.fail, error, taken=left + 1))
            error.received = source.received - left - 1  # type: ignore[attr-defined] # pyright: ignore
        self._items.clear()


class SyncStreamCalls(SyncCallBase):
    """``stream``."""

    __slots__ = ()

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    def stream(self, func: Callable[P, AsyncIterable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> SyncStream[R]: ...
    @overload
    def stream(self, func: Callable[P, Iterable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> SyncStream[R]: ...
    @overload
    def stream(self, func: str, /, *_args: Any, **_kwargs: Any) -> SyncStream[Any]: ...
    def stream(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> SyncStream[Any]:
        """Call a generator function on one of the servers, and iterate over its items as they come.

        It is what :meth:`RpcClient.stream` is, with the same guarantees and errors, and a plain iterator.

        Example::

            for row in client.options(timeout=60).stream(report, 2024):
                print(row)

        Args:
            func: the generator function, a function of the same name and signature, or the name of the service, as for
                :meth:`RpcClient.stream`.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            RegistrationError: the annotation of the items names something that is not found, or cannot be used.
            TypeError: ``func`` stands for no service, or for one that returns one result.
        """
        return make_sync_stream(self, func, stream_target_of(func), args, kwargs)


def make_sync_stream(
    calls: SyncCallBase, func: object, target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> SyncStream[Any]:
    """Return a stream of ``target``, which ``func`` stands for, by ``calls``."""
    connection, options = calls._prepare(target.kind)
    found = find_upload(args, kwargs)
    inputs = iter(found.source) if found is not None and is_drawn_here(found) else None
    make = partial(connection.stream, calls._given, options, target.name, func, args, kwargs, found)
    return SyncStream(connection, make, target.name, target.adapt, inputs)

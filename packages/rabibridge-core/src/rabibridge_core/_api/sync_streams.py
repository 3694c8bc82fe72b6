"""Streams of a synchronous client: plain iterators, whose items are fetched message by message."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._api.sync_iteration import iterate
from rabibridge_core._api.sync_progress import take_report
from rabibridge_core._api.sync_stream_reader import StreamReader
from rabibridge_core._api.sync_uploads import Drawing, is_drawn_here
from rabibridge_core._client.stream_targets import stream_target_of
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core._protocol.progress import Progress
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable, Iterator
    from types import TracebackType

    from rabibridge_core._api.sync_connection_calls import ConnectionCalls
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._client.streaming import Streaming
    from rabibridge_core._client.targets import CallTarget
    from rabibridge_core._codec.annotations import ResultAdapter

__all__ = ["SyncStream", "SyncStreamCalls", "make_sync_stream"]

P = ParamSpec("P")
R = TypeVar("R")
ItemT_co = TypeVar("ItemT_co", covariant=True)
_NO_TYPES: frozenset[type] = frozenset()


class SyncStream(Generic[ItemT_co]):
    """The items of a function on a server that gives them one by one, for a thread that waits; made by ``stream``.

    It is an iterator with the guarantees and the errors of :class:`Stream`. Leaving the loop early stops the function:
    when nothing holds the stream any longer, at :meth:`close`, at the end of its ``with`` block, or if the waiting
    thread is interrupted, by Ctrl-C for example. A stream belongs to the process that made it.
    """

    def __init__(
        self,
        connection: ConnectionCalls,
        make: Callable[[Any, Any], Coroutine[Any, Any, Streaming]],
        name: str,
        adapt: ResultAdapter | None,
        inputs: Iterator[Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Read a stream on the loop of ``connection``. Made by the client.

        Args:
            connection: runs it.
            make: makes it there; its arguments feed one of the function, if ``inputs`` are given, and take reports.
            name: the name of the service.
            adapt: restores items; ``None``: they stay as they are.
            inputs: what feeds an argument; it is drawn from in the thread that reads.
            on_progress: called with the reports of progress, in the thread that reads.
        """
        self._connection = connection
        self._reader = StreamReader(make, name)
        self._name = name
        self._adapt = adapt
        self._exact = _NO_TYPES if adapt is None else adapt.exact
        self._items: deque[Any] = deque()
        self._closed = False
        self._inputs = inputs
        self._on_progress = on_progress
        self._chunks: Generator[tuple[Any, ...] | Progress] | None = None

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
            if self._adapt is None or type(item) in self._exact:
                return item
        except IndexError:  # another thread was faster
            return next(self)
        except BaseException:  # the thread was interrupted, and may have lost an item
            self._end(partial(self._reader.fail, len(self._items) + 1))
            raise
        try:
            adapted: ItemT_co = self._adapt(item)
        except Exception as error:
            self._misfit(error)
            raise
        except BaseException:
            self._end(partial(self._reader.fail, len(self._items) + 1))
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
                self._connection.run_or_end(self._reader.end, self._reader.end)
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
        reader: StreamReader | None = getattr(self, "_reader", None)
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
            items = self._next_items()
            self._items.extend(items)
        except ConfigurationError:  # this thread runs an event loop
            raise
        except BaseException:
            self._end(partial(self._reader.fail, 0))  # no effect if it is at its end
            raise
        return bool(items)

    def _next_items(self) -> tuple[Any, ...]:
        """Return the items of the next message; meanwhile, do what is wanted of this thread."""
        connection, reader, on_progress = self._connection, self._reader, self._on_progress
        if (self._inputs is None and on_progress is None) or (self._chunks is None and reader.source is not None):
            return connection.run_or_end(reader.interrupt, reader.next_items)
        if self._chunks is None:
            read = partial(reader.read_with_thread, fed=self._inputs is not None, reporting=on_progress is not None)
            self._chunks = iterate(connection, read, self._inputs, Drawing(), reader.interrupt)
        try:
            for given in self._chunks:
                if not isinstance(given, Progress):
                    return given
                assert on_progress is not None
                try:
                    take_report(on_progress, given, self._name)
                except BaseException as error:  # noqa: BLE001 - it goes on when the stream has been ended
                    self._chunks.throw(error)
        except BaseException:
            self._chunks = None
            raise
        self._chunks = None
        return ()

    def _end(self, work: Callable[[], object]) -> None:
        """End it on the loop, without waiting."""
        self._items.clear()
        self._connection.call_soon(work)

    def _misfit(self, error: Exception) -> None:
        """End the stream because of an item that is not what the annotation says."""
        source, left = self._source, len(self._items) + 1
        if source is not None:
            self._end(partial(source.fail, error, taken=left))
            error.received = source.received - left  # type: ignore[attr-defined] # pyright: ignore


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
    return SyncStream(connection, make, target.name, target.adapt, inputs, calls._given.on_progress)

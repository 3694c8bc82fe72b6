"""Streams as users see them: the items that a function gives, one by one."""

from __future__ import annotations

import os
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from rabibridge_core._client.streaming import Streaming
    from rabibridge_core._codec.annotations import ResultAdapter

__all__ = ["Stream"]

ItemT_co = TypeVar("ItemT_co", covariant=True)
_NO_TYPES: frozenset[type] = frozenset()


class Stream(Generic[ItemT_co]):
    """The items of a function on a server that gives them one by one; made by ``client.stream``.

    It is an async iterator. The call is sent by the first step. Items come in order and once each; the iteration ends
    when the function has ended and every item has come, and in any other case with one exact error, whose ``received``
    says how many items came before. Stepping on after an error raises it again.

    A reader that takes its time stops the function: it may be some messages ahead, not more. Leaving the loop early
    stops it, too: when nothing holds the stream any longer, or at :meth:`aclose`. If something else holds the stream,
    use ``async with`` or ``contextlib.aclosing``; else the function waits in its ``yield`` until the timeout.

    Several tasks may read one stream: each item goes to one of them. Cancelling a task that waits for an item loses no
    item and does not end the stream.
    """

    __slots__ = ("__weakref__", "_adapt", "_exact", "_items", "_name", "_pid", "_source")

    def __init__(self, source: Streaming, name: str, adapt: ResultAdapter | None = None) -> None:
        """Read ``source``. Made by the client.

        Args:
            source: gives the items.
            name: the name of the service.
            adapt: restores items as the annotation of the function announces them; ``None``: they stay as they are.
        """
        self._source = source
        self._items = source.items
        self._name = name
        self._adapt = adapt
        self._exact = _NO_TYPES if adapt is None else adapt.exact
        self._pid = os.getpid()

    def __repr__(self) -> str:
        """Show the service and how far it has come."""
        state = "ended" if self._source.over else "open"
        return f"<{type(self).__name__} of {self._name!r}: {self.received} items, {state}>"

    @property
    def received(self) -> int:
        """The number of items that were taken from this stream."""
        return self._source.received

    def begin_at(self, index: int) -> Self:
        """Let a stream that has not begun leave out its first ``index`` items, and return it.

        The service must be registered with ``resumable=True``: its function gets the number as ``start_at``. Any other
        one refuses the stream, unless ``index`` is 0. ``received`` counts the items that are read from this stream.

        Raises:
            ConfigurationError: it has begun, or ``index`` is not a number of at least 0.
        """
        source = self._source
        if type(index) is not int or not 0 <= index < 2**63:
            raise ConfigurationError(f"the index is {repr(index)[:80]}; it must be a number of items, 0 or more")
        if source.over or source.loop is not None:
            raise ConfigurationError("the stream has begun: choose its first item before the first step")
        source.first = index
        return self

    def __aiter__(self) -> Self:
        """Return the stream itself: it can be iterated over once."""
        return self

    async def __anext__(self) -> ItemT_co:
        """Return the next item; the first step sends the call.

        Raises:
            RabiBridgeError: as ``client.stream`` says.
        """
        items = self._items
        while not items:
            if not await self._source.fetch():
                raise StopAsyncIteration
        item: ItemT_co = items.popleft()
        if self._adapt is None or type(item) in self._exact:
            return item
        try:
            adapted: ItemT_co = self._adapt(item)
        except Exception as error:
            self._source.fail(error, taken=1)
            raise
        return adapted

    async def aclose(self) -> None:
        """End the stream and stop the function; no effect if it has ended. A task that waits for an item gets none."""
        self._source.close()

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self._source.close()

    def __del__(self) -> None:
        """Stop the function in the next turn of the event loop: this may run in the middle of anything."""
        source: Streaming | None = getattr(self, "_source", None)
        loop = None if source is None else source.loop
        if source is not None and loop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop is closed, and its connections are gone
                loop.call_soon_threadsafe(source.close, context=Context())

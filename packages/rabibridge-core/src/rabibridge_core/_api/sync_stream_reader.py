"""The stream of a synchronous client, on the loop of its connection."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from rabibridge_core._api.sync_progress import Outcome, Reports
from rabibridge_core.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from rabibridge_core._api.sync_iteration import Iteration
    from rabibridge_core._client.streaming import Streaming
    from rabibridge_core._protocol.progress import Progress

__all__ = ["StreamReader"]


class StreamReader:
    """The side of the loop: its coroutine functions run there."""

    def __init__(self, make: Callable[[Any, Any], Coroutine[Any, Any, Streaming]], name: str) -> None:
        """Read what ``make`` returns; its arguments feed an argument of the function, and take reports of progress."""
        self.source: Streaming | None = None
        self._make = make
        self._name = name

    async def next_items(self) -> tuple[Any, ...]:
        """Wait for the next items; none: the stream is at its end."""
        if self.source is None:
            self.source = await self._make(None, None)
        return _taken(self.source) if await self.source.fetch() else ()

    async def read_with_thread(
        self, iteration: Iteration[Any], *, fed: bool, reporting: bool
    ) -> AsyncGenerator[tuple[Any, ...] | Progress]:
        """Read the whole stream. The thread feeds it by the iteration, and gets reports of progress, too."""
        reports = Reports() if reporting else None
        inputs = iteration.inputs() if fed else None
        self.source = source = await self._make(inputs, None if reports is None else reports.received)
        try:
            more = True
            while more:
                if reports is None:
                    more = await source.fetch()
                else:
                    async with aclosing(reports.beside(source.fetch())) as given:
                        async for one in given:
                            if isinstance(one, Outcome):
                                more = one.value
                            else:
                                yield one
                if more:
                    yield _taken(source)
        finally:
            source.close()

    async def end(self) -> None:
        """Close the stream."""
        if self.source is not None:
            self.source.close()

    async def interrupt(self) -> None:
        """Do what :meth:`fail` does."""
        self.fail(0)

    def fail(self, left: int) -> None:
        """End the stream before its end, as its thread was interrupted: reading it raises StreamError from now on.

        No effect if it is at its end.

        Args:
            left: how many items the thread was given and has not taken.
        """
        if self.source is not None and not self.source.over:
            why = "an exception interrupted the thread that read it, which has ended it"
            error = StreamError(f"stream of {self._name!r}: {why}", func_name=self._name)
            self.source.fail(error, taken=left)


def _taken(source: Streaming) -> tuple[Any, ...]:
    items = tuple(source.items)
    source.items.clear()
    return items

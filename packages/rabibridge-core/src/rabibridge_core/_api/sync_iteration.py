"""Iterates in a thread over what an async iterator gives on the loop of a connection.

One task runs the async iterator from its beginning to its end, as cancel scopes and context variables in it require.
The thread asks for one thing after the other.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator

    from rabibridge_core._api.sync_connection_calls import ConnectionCalls

__all__ = ["Iteration", "iterate"]

T = TypeVar("T")


class Iteration(Generic[T]):
    """The side of the loop. Its coroutine functions and :meth:`cancel` run there."""

    def __init__(
        self,
        begin: Callable[[Iteration[T]], AsyncIterator[T]],
        interrupted: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Run what ``begin`` returns, when it is asked for the first time; ``interrupted`` is run by :meth:`end`."""
        self._begin = begin
        self._interrupted = interrupted
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[tuple[str, Any]]
        self._given: asyncio.Future[Any]

    async def next(self, given: Any = None) -> tuple[str, Any]:
        """Return ``("item", item)``, ``("end", None)``, ``("error", error)``, or ``("wanted", None)``.

        Args:
            given: the answer to the last event, if that was ``wanted``: a list of inputs, empty after the last; or the
                exception that the inputs have raised.
        """
        if self._task is None:
            self._events = asyncio.Queue(1)
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif given is not None and not self._given.done():  # else it has ended by an error meanwhile
            self._given.set_result(given)
        try:
            return await self._events.get()
        except BaseException:
            await self.end()
            raise

    async def inputs(self) -> AsyncGenerator[Any]:
        """Give what the thread gives when it is asked."""
        while True:
            self._given = asyncio.get_running_loop().create_future()
            await self._events.put(("wanted", None))
            given = await self._given
            if isinstance(given, Exception):
                raise given
            if not given:
                return
            for one in given:
                yield one

    async def close(self) -> None:
        """Cancel it, and wait until it has cleaned up."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def end(self) -> None:
        """Close it because the thread was interrupted."""
        if self._interrupted is not None:
            await self._interrupted()
        await self.close()

    def cancel(self) -> None:
        """Cancel it."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        items = self._begin(self)
        try:
            try:
                async for item in items:
                    await self._events.put(("item", item))
            finally:
                if (aclose := getattr(items, "aclose", None)) is not None:
                    await aclose()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread
            await self._events.put(("error", error))
        else:
            await self._events.put(("end", None))


def iterate(
    connection: ConnectionCalls,
    begin: Callable[[Iteration[T]], AsyncIterator[T]],
    inputs: Iterator[Any] | None = None,
    draw: Callable[[Iterator[Any]], list[Any] | Exception] | None = None,
    interrupted: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Generator[T]:
    """Iterate over what ``begin`` returns. However the iteration is left, it ends on the loop, too.

    If the thread is interrupted, what is sent for that has left before the exception goes on, or a second has passed.

    Args:
        connection: runs it.
        begin: makes the async iterator, on the loop.
        inputs: what :meth:`Iteration.inputs` gives there; it is iterated over in this thread.
        draw: draws from the inputs when some are wanted; ``None``: one at a time.
        interrupted: run on the loop, before the iteration is closed, if the thread is interrupted.
    """
    iteration = Iteration(begin, interrupted)
    given: list[Any] | Exception | None = None
    over = False
    try:
        while True:
            if connection.pid != os.getpid():
                raise ConnectionLostError(
                    f"{connection.name}: this iteration is that of process {connection.pid}, which this one was forked "
                    "from: begin a new one"
                )
            try:
                what, value = connection.run_or_end(iteration.end, iteration.next, given)
            except ConfigurationError:  # this thread runs an event loop
                raise
            except BaseException:  # interrupted, or the loop has ended
                over = True
                raise
            given = None
            if what == "item":
                yield value
            elif what == "wanted":
                assert inputs is not None
                given = list(_one_of(inputs)) if draw is None else draw(inputs)
            else:
                over = True
                if what == "error":
                    raise value
                return
    except BaseException as error:
        if not over and not isinstance(error, Exception | GeneratorExit):  # interrupted while it did not wait
            over = True
            connection.end_soon(iteration.end)
        raise
    finally:
        if not over and connection.pid == os.getpid():
            _close(connection, iteration)


def _one_of(inputs: Iterator[Any]) -> Iterator[Any]:
    for one in inputs:
        yield one
        return


def _close(connection: ConnectionCalls, iteration: Iteration[Any]) -> None:
    try:
        with suppress(ConnectionLostError):  # it is closed: nothing runs there any more
            connection.run(iteration.close)
    except ConfigurationError:  # it is collected in a thread that runs an event loop
        connection.call_soon(iteration.cancel)

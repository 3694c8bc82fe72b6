"""Serves in the background of a block of code: ``async with server.serving():``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType
    from typing import Any

__all__ = ["BackgroundServing", "ServableServer"]


class ServableServer(Protocol):
    """What :class:`BackgroundServing` uses of a server."""

    async def __aenter__(self) -> object: ...

    async def close(self) -> None: ...


class RunningEngine(Protocol):
    """What :class:`BackgroundServing` uses of the engine of a connected server."""

    @property
    def connected(self) -> bool: ...

    @property
    def stopping(self) -> bool: ...

    def stop(self) -> None: ...

    async def wait_started(self) -> None: ...


ServerT = TypeVar("ServerT", bound=ServableServer)


class BackgroundServing(Generic[ServerT]):
    """An async context manager in which a server serves; ``RpcServer.serving`` describes it.

    The block may be left in another task than it was entered in, as pytest fixtures do. An error of serving then does
    not end the block, and is raised when it is left.
    """

    def __init__(
        self, server: ServerT, engine: Callable[[], RunningEngine], serve: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Serve ``server``: ``engine`` returns its present engine, and ``serve`` runs it until it is stopped."""
        self._server = server
        self._engine = engine
        self._serve = serve
        self._close_after = False
        self._leaving = False
        self._ended_body = False
        self._task: asyncio.Task[None] | None = None
        self._parent: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> ServerT:
        if self._task is not None:
            raise RuntimeError("serving() returns a context manager for one block: call it again for the next one")
        self._close_after = not self._engine().connected
        if self._close_after:
            await self._server.__aenter__()
        self._parent = asyncio.current_task()
        task = self._task = asyncio.create_task(self._serve())
        started = asyncio.create_task(self._engine().wait_started())
        try:
            await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task  # it has failed, or was stopped before the block began
        except BaseException:
            await self._leave()
            raise
        finally:
            started.cancel()
            await asyncio.gather(started, return_exceptions=True)
        task.add_done_callback(self._ended)
        return self._server

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Called when serving ends: if by an error, the block is cancelled, as ``asyncio.TaskGroup`` does."""
        parent = self._parent
        failed = not task.cancelled() and task.exception() is not None
        if failed and not self._leaving and parent is not None and not parent.done():
            self._ended_body = parent.cancel()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        by_us = await self._take_back_cancellation(exc)
        await self._leave()
        if self._task.cancelled() or (error := self._task.exception()) is None:
            return
        if exc is None or by_us:
            raise error
        if not isinstance(exc, asyncio.CancelledError):
            raise BaseExceptionGroup("serving has failed, and so has the block that it ended", [error, exc])

    async def _take_back_cancellation(self, exc: BaseException | None) -> bool:
        """Undo the cancellation of the block; return whether ``exc`` is that cancellation and no other one."""
        if not self._ended_body:
            return False
        assert self._parent is not None
        cancelled = isinstance(exc, asyncio.CancelledError)
        if not cancelled:
            with suppress(asyncio.CancelledError):  # it was not delivered if the block awaited nothing more
                await asyncio.sleep(0)
        return self._parent.uncancel() == 0 and cancelled

    async def _leave(self) -> None:
        """Stop serving and wait until it has ended; disconnect if the block has connected."""
        assert self._task is not None
        self._leaving = True
        cancelled: asyncio.CancelledError | None = None
        if not (self._task.done() or self._engine().stopping):
            self._engine().stop()
        while not self._task.done():
            try:
                await asyncio.wait((self._task,))
            except asyncio.CancelledError as error:
                cancelled = error
                self._engine().stop()  # a second time: the calls in flight return to their queues
        if self._close_after:
            await self._server.close()
        if cancelled is not None:
            raise cancelled

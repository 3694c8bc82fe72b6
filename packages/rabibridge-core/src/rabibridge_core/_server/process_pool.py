"""The child processes of one service: as many as may run calls at a time, each replaced when it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.child_exit import ChildGuard
from rabibridge_core._server.child_process import ChildGoneError, ChildProcess, ChildStartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._server.child_process import ChildLaunch

__all__ = ["ProcessPool"]

_log = get_logger(__name__)
_BACKOFF_FIRST, _BACKOFF_MAX = 0.2, 10.0
_LOOP = 3
"""So many crashes in a row, with no call answered between them, are a problem of the service."""


class ProcessPool:
    """Child processes that run one call each at a time.

    The pool of the standard library fails as a whole when one child dies, and its recycling can deadlock. Here, every
    place has a task of its own, which starts a child, waits for its end, and starts the next one.
    """

    def __init__(
        self, launch: ChildLaunch, size: int, max_calls: int | None, *, tell_problem: Callable[[str], None]
    ) -> None:
        """Start nothing yet.

        Args:
            launch: what a child is told.
            size: the number of children.
            max_calls: how many calls a child runs before it is replaced; ``None``: no limit.
            tell_problem: called with why no call can be run; with an empty text when one can.
        """
        self._launch = launch
        self._service = launch.service
        self._size = size
        self._max_calls = max_calls
        self._tell_problem = tell_problem
        self._guard = ChildGuard()
        self._places: set[asyncio.Task[None]] = set()
        self._children: set[ChildProcess] = set()
        """Those that can be called, or are being called."""
        self._idle: deque[ChildProcess] = deque()
        self._waiting: deque[asyncio.Future[ChildProcess]] = deque()
        self._crashes = 0
        self._last_error = ""
        self._closing = asyncio.Event()
        self._running = 0
        self._finishing = False
        self._served = False
        """Whether a child could be called at any time."""

    @property
    def empty(self) -> bool:
        """Whether no child runs, or is being started."""
        return not self._places

    async def start(self) -> None:
        """Start all children, and wait until they can be called.

        Raises:
            ChildStartError: the first of them that fails says why. None stays.
        """
        first = [self._add_place() for _ in range(self._size - len(self._places))]
        self._tell_problem("its child processes are starting")
        try:
            await asyncio.gather(*first)
        except BaseException:
            for future in first:
                future.cancel()
            self.close(finish=False)
            raise
        self._report()

    def _add_place(self) -> asyncio.Future[None]:
        """Let one more child run; the future says when it can be called for the first time, or why not."""
        began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.get_running_loop().create_task(self._keep(began), name=f"child of {self._service}")
        self._places.add(task)
        task.add_done_callback(self._place_ended)
        return began

    def _place_ended(self, task: asyncio.Task[None]) -> None:
        self._places.discard(task)
        if not self._places and self._closing.is_set():
            self._guard.close()

    async def _keep(self, began: asyncio.Future[None]) -> None:
        backoff = Backoff(_BACKOFF_FIRST, _BACKOFF_MAX, immediate=True)
        while not self._closing.is_set():
            child = ChildProcess(self._launch, self._guard)
            try:
                await self._live(child, began)
            finally:
                child.kill()
                self._children.discard(child)
                await _until_gone(child)
            if child.calls:
                backoff.reset()
            await self._pause(0.0 if child.calls or not self._last_error else backoff.next())

    async def _live(self, child: ChildProcess, began: asyncio.Future[None]) -> None:
        """Start a child, offer it to calls, and wait for its end."""
        try:
            await child.start()
        except ChildStartError as error:
            self._last_error = str(error)
            if not self._served:
                self._refuse_waiting(error)
            if not began.done():
                began.set_exception(error)
            elif not self._closing.is_set():
                _log.error(
                    "service %r: a child process cannot serve: %s", self._service, error,
                    extra=log_fields("child.start_failed", service=self._service, error=error),
                )  # fmt: skip
            self._report()
            return
        if not began.done():
            began.set_result(None)
        self._served = True
        self._children.add(child)
        if self._closing.is_set():
            child.leave()
        else:
            self._offer(child)
            self._report()
        await asyncio.shield(child.gone)
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        self._last_error = ""
        if not child.ending:
            self._crashes += 1
            self._last_error = f"a child process {child.describe_end()}"
            _log.error(
                "service %r: child process %d %s", self._service, child.pid, child.describe_end(),
                extra=log_fields("child.ended", service=self._service, pid=child.pid),
            )  # fmt: skip
        self._report()

    def _refuse_waiting(self, error: ChildStartError) -> None:
        """End the calls that wait for the first child: the next attempt would most likely fail like this one."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ChildStartError(str(error)))
        self._waiting.clear()

    async def _pause(self, delay: float) -> None:
        if delay:
            with contextlib.suppress(TimeoutError):  # nothing has closed the pool meanwhile
                await asyncio.wait_for(self._closing.wait(), delay)

    def _report(self) -> None:
        """Tell why no call can be run now, or that one can."""
        problem = ""
        if self._closing.is_set():
            pass
        elif self._crashes >= _LOOP:
            problem = f"its child processes crash, {self._crashes} times in a row: {self._last_error or 'see the log'}"
        elif not self._children and self._places:
            problem = f"no child process can be called, one is being started: {self._last_error or 'see the log'}"
        self._tell_problem(problem)

    async def run(
        self,
        fields: dict[str, Any],
        body: bytes,
        progress: Callable[[float | None, str], None],
        begun: Callable[[ChildProcess], None],
    ) -> tuple[dict[str, Any], bytes]:
        """Run one call in a child; return the fields and the body of its answer.

        ``progress`` is called with what the function reports meanwhile, ``begun`` with the child that is
        given the call.

        If this is cancelled, the child is killed, and the cancellation goes on when it is gone.

        Raises:
            ChildGoneError: the child has crashed.
            ChildStartError: no child could be started since the pool was made.
        """
        self._running += 1
        try:
            child = await self._acquire()
            begun(child)
            try:
                answer = await child.call(fields, body, progress)
            except ChildGoneError:
                raise
            except BaseException:
                child.kill()
                await _until_gone(child)
                raise
            self._answered(child)
            return answer
        finally:
            self._running -= 1
            if self._finishing and not self._running:
                self.close(finish=False)

    def _answered(self, child: ChildProcess) -> None:
        if self._crashes or self._last_error:
            self._crashes, self._last_error = 0, ""
            self._report()
        self._release(child)

    async def _acquire(self) -> ChildProcess:
        while self._idle:
            child = self._idle.popleft()
            if not child.ending and not child.gone.done():
                return child
        if len(self._places) < self._size and not self._closing.is_set():
            self._add_place().add_done_callback(_noted)
        waiting: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._release(waiting.result())
            raise

    def _release(self, child: ChildProcess) -> None:
        if self._closing.is_set() or (self._max_calls is not None and child.calls >= self._max_calls):
            child.leave()
        elif not child.ending and not child.gone.done():
            self._offer(child)

    def _offer(self, child: ChildProcess) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(child)
                return
        self._idle.append(child)

    def close(self, *, finish: bool) -> None:
        """Let the children end: those that run calls are killed, or, with ``finish``, all stay until these are done."""
        if finish and self._running:
            self._finishing = True
            return
        self._closing.set()
        self._report()
        for child in self._idle:
            child.leave()
        self._idle.clear()
        for waiting in self._waiting:
            waiting.cancel()
        for child in self._children:
            if not child.ending:
                child.kill()

    async def wait_closed(self) -> None:
        """Wait until all children are gone, after :meth:`close`."""
        if self._places:
            await asyncio.wait(self._places)


def _noted(began: asyncio.Future[None]) -> None:
    if not began.cancelled():
        began.exception()  # it is logged where it is set, and the next attempt follows


async def _until_gone(child: ChildProcess) -> None:
    """Wait until a child that was killed is gone, whatever cancels this meanwhile: that takes no time that matters."""
    cancelled = False
    while not child.gone.done():
        try:
            await asyncio.wait([child.gone])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError

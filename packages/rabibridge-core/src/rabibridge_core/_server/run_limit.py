"""Bounds how long calls of one service may run, whatever their callers allow.

It stands around the executor of a service that has such a limit; other services do not come here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.deadlines import DeadlineWheel
from rabibridge_core._server.process_executor import ProcessExecutor
from rabibridge_core.errors import RunTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.executors import HandlerExecutor
    from rabibridge_core._server.streaming import StreamingExecutor

__all__ = ["LimitedExecutor"]


class LimitedExecutor:
    """Does what the executor does that it stands around, and ends calls that run for too long.

    In child processes, a call runs from when a child has it; elsewhere, from when its providers or its function start.
    It ends when its providers have cleaned up, and its stream was sent.
    """

    inline = None

    def __init__(
        self,
        executor: HandlerExecutor | StreamingExecutor,
        name: str,
        seconds: float,
        overran: Callable[[ActiveRequest, RunTimeoutError], None],
    ) -> None:
        """Must be made on the running event loop.

        Args:
            executor: runs the calls.
            name: the service, for errors.
            seconds: how long a call may run.
            overran: called with a call that runs for longer, and the error for its caller; it stops the call.
        """
        self._executor = executor
        self._name = name
        self._seconds = seconds
        self._overran = overran
        self._slots: dict[ActiveRequest, float] = {}
        self._errors: dict[ActiveRequest, RunTimeoutError] = {}
        self._wheel = DeadlineWheel["ActiveRequest"](asyncio.get_running_loop(), self._over)
        self._in_child = isinstance(executor, ProcessExecutor)
        if isinstance(executor, ProcessExecutor):
            executor.begun = self._begin

    @property
    def problem(self) -> str:
        """See :attr:`HandlerExecutor.problem`."""
        return self._executor.problem

    @property
    def finished(self) -> bool:
        """See :attr:`HandlerExecutor.finished`."""
        return self._executor.finished

    def _begin(self, active: ActiveRequest) -> None:
        self._slots[active] = self._wheel.add(active, self._seconds)

    def _over(self, active: ActiveRequest) -> None:
        if active.stop_reason is None:
            self._errors[active] = error = RunTimeoutError(
                f"it ran longer than the run_timeout of its service, {self._seconds:g} s, and was stopped: this is a "
                "limit of the service, not the timeout of the caller. It may have run in part",
                func_name=self._name,
            )
            self._overran(active, error)

    async def run(self, args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest) -> Any:
        """Do what the executor does.

        Raises:
            RunTimeoutError: it ran for too long; its caller knows.
            BaseException: what the executor raises.
        """
        if not self._in_child:
            self._begin(active)
        try:
            result = await self._executor.run(args, kwargs, active)
        except BaseException:
            if (error := self._errors.get(active)) is not None:
                raise error from None
            raise
        else:
            if (error := self._errors.get(active)) is not None:
                raise error
            return result
        finally:
            self._errors.pop(active, None)
            if (slot := self._slots.pop(active, None)) is not None:
                self._wheel.discard(active, slot)
            error = None  # a frame that keeps the exception which keeps the frame is a cycle

    async def start(self) -> None:
        """See :meth:`HandlerExecutor.start`."""
        await self._executor.start()

    async def wait_closed(self) -> None:
        """See :meth:`HandlerExecutor.wait_closed`."""
        await self._executor.wait_closed()

    def close(self, *, drop_waiting: bool) -> None:
        """See :meth:`HandlerExecutor.close`."""
        self._executor.close(drop_waiting=drop_waiting)
        if drop_waiting:
            self._wheel.clear()

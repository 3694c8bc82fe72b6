"""Reports of progress on the calling side: how the function of a caller is called with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from inspect import isawaitable
from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._protocol.progress import Progress, is_progress, read_progress
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rabibridge_core.transport import Reply

__all__ = ["OnProgress", "ProgressReceiver"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
OnProgress: TypeAlias = Callable[[Progress], object]
"""What a caller wants to be called with each report; a coroutine function is awaited."""

_running = TaskSet()


class ProgressReceiver:
    """Calls a function with the reports of one call. While it runs, newer reports replace each other.

    It runs in the context of the task that made the call. What it raises is logged: the call goes on.
    """

    def __init__(self, on_progress: OnProgress, func_name: str) -> None:
        """Call ``on_progress`` on the running event loop; ``func_name`` is the name of the service, for the log."""
        self._on_progress = on_progress
        self._func_name = func_name
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._newest: Progress | None = None
        self._running = False
        self._closed = False

    def received(self, reply: Reply) -> None:
        """Called with each part of the reply; what is no report is dropped."""
        if self._closed or not is_progress(reply.headers):
            return
        self._newest = read_progress(reply.headers or {})
        if not self._running:
            self._running = True
            self._loop.call_soon(self._report, context=self._context)

    def close(self) -> None:
        """Pass on nothing more: the call has ended. If the function is running, it runs to its end."""
        self._closed = True

    def _report(self) -> None:
        newest, self._newest = self._newest, None
        if newest is None or self._closed:
            self._running = False
            return
        try:
            running = self._on_progress(newest)
        except Exception:  # noqa: BLE001 - the call goes on, whatever its caller does with reports
            self._log_failure()
        else:
            if isawaitable(running):
                task = self._loop.create_task(self._finish(running))  # in a copy: this one is entered already
                _running.add(task)
                task.add_done_callback(_running.discard)
                return
        self._report_next()

    async def _finish(self, running: Awaitable[object]) -> None:
        try:
            await running
        except Exception:  # noqa: BLE001 - as above
            self._log_failure()
        finally:
            self._report_next()

    def _report_next(self) -> None:
        if self._newest is None:
            self._running = False
        else:
            self._loop.call_soon(self._report, context=self._context)

    def _log_failure(self) -> None:
        _limited.log(
            f"on_progress of calls of {self._func_name!r} has raised", logging.ERROR,
            "call of %r: on_progress has raised; the call goes on", self._func_name,
            extra=log_fields("call.progress_handler_failed", service=self._func_name), exc_info=True,
        )  # fmt: skip

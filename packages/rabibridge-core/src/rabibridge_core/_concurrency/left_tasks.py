"""Tasks that are left on an event loop that runs no more: it was closed before they ended, or belongs to a parent.

When they are collected, asyncio logs each as an error, and libraries that clean up in ``finally`` fail loudly for want
of an event loop. Whoever left them there is told once, by a ResourceWarning of ours.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["drop_tasks"]

_log = get_logger(__name__)

_ROUNDS = 8
"""A coroutine that is closed may start a task that cleans up, which is dropped in the next round."""


def drop_tasks(loop: asyncio.AbstractEventLoop, packages: Collection[str]) -> None:
    """End the tasks on ``loop`` whose coroutines are those of ``packages``. No task may run on it again."""
    dropped = set[asyncio.Task[Any]]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that would be awaited to clean up
        for _ in range(_ROUNDS):
            left = {task for task in asyncio.all_tasks(loop) - dropped if _package(task) in packages}
            for task in left:
                coroutine: Any = task.get_coro()
                if hasattr(task, "_log_destroy_pending"):  # of asyncio's own tasks, and others that are like them
                    setattr(task, "_log_destroy_pending", False)  # noqa: B010 - no type checker knows it
                try:
                    coroutine.close()
                except Exception as error:  # noqa: BLE001 - it needs the event loop to clean up
                    _log.debug(
                        "%r cannot clean up: %r", task, error,
                        extra=log_fields("process.task_not_cleaned_up", error=error),
                    )  # fmt: skip
            dropped |= left


def _package(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    frame = coroutine.cr_frame if inspect.iscoroutine(coroutine) else None
    return "" if frame is None else frame.f_globals.get("__name__", "").partition(".")[0]

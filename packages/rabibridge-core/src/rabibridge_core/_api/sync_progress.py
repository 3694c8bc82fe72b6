"""Reports of progress for a thread that waits: they arrive in that thread, when it is free to take them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from rabibridge_core._client.rare_options import RareOptions, plain_headers, wanted_progress
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._protocol.progress import Progress

__all__ = ["Outcome", "Reports", "check_on_progress", "take_report", "wanted_reports"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """What the work has returned that the reports are about."""

    value: T


class Reports:
    """The newest report of a call, on the loop, until the thread takes it: newer ones replace it."""

    def __init__(self) -> None:
        """Have none yet."""
        self._newest: Progress | None = None
        self._changed = asyncio.Event()

    def received(self, progress: Progress) -> None:
        """Called with each report."""
        self._newest = progress
        self._changed.set()

    def options(self, options: AnyOptions) -> AnyOptions:
        """Return the options of a call whose reports come here."""
        headers = options[7]
        breaker = headers.breaker if type(headers) is RareOptions else None
        return (*options[:7], RareOptions(plain_headers(headers), self.received, None, breaker))

    async def beside(self, work: Coroutine[Any, Any, T]) -> AsyncGenerator[Progress | Outcome[T]]:
        """Do the work; give the reports that come meanwhile, and the outcome last.

        Raises:
            BaseException: what the work raises.
        """
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._changed.set())
        try:
            while not task.done() or self._newest is not None:
                await self._changed.wait()
                self._changed.clear()
                if self._newest is not None:
                    reported, self._newest = self._newest, None
                    yield reported
            yield Outcome(task.result())
        finally:
            task.cancel()
            await asyncio.wait((task,))


def wanted_reports(options: AnyOptions) -> OnProgress | None:
    """Return what a call with these options wants to be called with its reports; ``None``: it wants none."""
    return wanted_progress(options[7])


def take_report(on_progress: OnProgress, progress: Progress, func_name: str) -> None:
    """Call the function of a caller with a report, in this thread.

    What it raises is logged, and the call goes on, unless that is to end the thread, as KeyboardInterrupt is.
    """
    try:
        on_progress(progress)
    except Exception:  # noqa: BLE001 - the call goes on, whatever its caller does with reports
        _limited.log(
            f"on_progress of calls of {func_name!r} has raised", logging.ERROR,
            "call of %r: on_progress has raised; the call goes on", func_name,
            extra=log_fields("call.progress_handler_failed", service=func_name), exc_info=True,
        )  # fmt: skip


def check_on_progress(on_progress: OnProgress | None) -> None:
    """Check that a thread can call this.

    Raises:
        ConfigurationError: it is a coroutine function.
    """
    if on_progress is not None and inspect.iscoroutinefunction(on_progress):
        raise ConfigurationError(
            f"on_progress is {on_progress!r}, an async function; the thread that waits for the call runs it, so that "
            "it must be a function that is not async"
        )

"""Runs a supervisor in this process, until it is stopped."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.background import repeat
from rabibridge_core._hosting.supervisor.control_signals import control_by_signals
from rabibridge_core._hosting.supervisor.file_watch import check_can_watch, watch_files
from rabibridge_core._hosting.supervisor.orphans import OrphanReaper
from rabibridge_core._hosting.supervisor.service_manager import ServiceManager
from rabibridge_core._hosting.supervisor.supervisor import Supervisor
from rabibridge_core._hosting.supervisor.view import ViewOf
from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge_core._hosting.supervisor.options import SupervisorOptions, WorkerLaunch

__all__ = ["check_can_supervise", "supervise"]

_log = get_logger(__name__)
_REAP_INTERVAL = 5.0


def check_can_supervise(what: str) -> None:
    """Check that worker processes can be started here.

    Args:
        what: what asks for them, for the error.

    Raises:
        ConfigurationError: they cannot.
    """
    if sys.platform == "win32":
        raise ConfigurationError(f"{what} needs Linux or macOS: on Windows, start the program several times")
    if current_link() is not None:
        raise ConfigurationError(
            f"{what} was called in a worker process. Put it under if __name__ == '__main__': workers import the program"
        )
    if asyncio._get_running_loop() is not None:
        raise ConfigurationError(f"{what} blocks until the workers end: call it where no event loop runs")


def supervise(launch: WorkerLaunch, options: SupervisorOptions) -> None:
    """Run workers until a signal stops this process, or their programs have come to their end.

    Raises:
        ConfigurationError: they cannot start, or files are to be watched and cannot be.
        ConnectionLostError: they cannot start, as they do not reach the broker.
    """
    if options.watched:
        check_can_watch()
    manager = ServiceManager.take()
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(_supervise(launch, options, manager))
    finally:
        manager.close()


async def _supervise(launch: WorkerLaunch, options: SupervisorOptions, manager: ServiceManager) -> None:
    supervisor = Supervisor(launch, options, manager)
    reaper = OrphanReaper(lambda: supervisor.processes.pids)
    beside = [asyncio.create_task(supervisor.watch_dog())]
    if options.watched:
        beside.append(asyncio.create_task(watch_files(options.watched, lambda: supervisor.reload("changed files"))))
    if reaper.active:
        beside.append(asyncio.create_task(repeat(_REAP_INTERVAL, reaper.reap)))
    if options.monitor is not None:
        beside.append(asyncio.create_task(options.monitor.watch(ViewOf(supervisor, asyncio.get_running_loop()))))
    reaper.start()
    try:
        with control_by_signals(supervisor):
            await supervisor.run()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        reaper.reap()
        reaper.stop()
    if supervisor.failure is not None:
        error = supervisor.failure
        text = f"no worker can start: {error}"
        if supervisor.failures > 1:
            text += f", {supervisor.failures} times in a row"
        if error.trace:
            text += f"\n{error.trace.rstrip()}"
        if error.error == "ConnectionLostError":
            raise ConnectionLostError(text, executed=False)
        raise ConfigurationError(text)
    _log.info("stopped", extra=log_fields("supervisor.stopped"))

"""Runs a server until it is stopped: handles signals, watches plug-in folders, and reports to a supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._hosting.state_dump import showing_state
from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core._hosting.worker.report import report
from rabibridge_core._observability.health import Health
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rabibridge_core._hosting.plugin_folder import PluginFolder
    from rabibridge_core._server.server import Server

__all__ = ["AGAIN", "DUPLICATE_SIGNALS", "serve_until_stopped", "stop_servers"]

_log = get_logger(__name__)
DUPLICATE_SIGNALS = 1.0
"""Signals that follow each other within so many seconds count as one in a supervisor and its workers: what stops a
service may signal its whole process group, and each process more than once."""
AGAIN = "; Ctrl-C again: the calls in flight return to their queues"
"""What whoever sits at a terminal may want to know."""


@dataclass(eq=False)
class _Running:
    """A server that a signal stops: its event loop, its ``stop``, and whether that was called."""

    loop: asyncio.AbstractEventLoop
    stop: Callable[[], None]
    stopping: bool = False


_running: list[_Running] = []
_before: dict[signal.Signals, Any] = {}
"""The signal handlers to restore after the last of these servers."""
_first_signal: float | None = None
"""When the first signal has come to this process, if a supervisor has started it."""
_served = False


async def serve_until_stopped(server: Server, watched: Sequence[PluginFolder] = (), *, signals: bool = True) -> None:
    """Run the server until it is stopped. On the main thread, SIGTERM and SIGINT stop it gracefully.

    So does SIGHUP, which a closed terminal sends, if it would otherwise kill the process.

    Args:
        server: a server that is connected and not started.
        watched: plug-in folders; when their files change, the services are changed while they run.
        signals: whether to install signal handlers; ``False`` leaves signals to the application.
    """
    link = current_link()
    with _stopped_by_signals(server.stop) if signals else nullcontext():
        beside = [asyncio.create_task(_watch(server, folder)) for folder in watched]
        if link is not None:
            beside.append(asyncio.create_task(report(link, server, lambda: health_of(server, watched))))
        try:
            with showing_state(server, asyncio.get_running_loop()) if signals else nullcontext():
                await server.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


def health_of(server: Server, watched: Sequence[PluginFolder]) -> Health:
    """Return the health of a server and of the plug-in folders that it serves."""
    health = server.health()
    problems = [problem for folder in watched for problem in folder.problems()]
    return Health(False, health.state, (*health.reasons, *problems)) if problems else health


async def _watch(server: Server, folder: PluginFolder) -> None:
    from rabibridge_core._hosting.hot_reload import watch

    try:
        await watch(server, folder)
    except Exception as error:  # noqa: BLE001 - the services continue; health() tells of it
        _log.exception(
            "%s is no longer watched; its services continue unchanged", folder.path,
            extra=log_fields("plugin_folder.not_watched", path=folder.path, error=error),
        )  # fmt: skip
        folder.not_watched = f"{type(error).__name__}: {error}"


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop this server, together with all others that run on the main thread."""
    global _served
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _before:
        _before.update({number: signal.signal(number, _on_signal) for number in _stop_signals()})
    running = _Running(asyncio.get_running_loop(), stop)
    _running.append(running)
    _served = True
    try:
        yield
    finally:
        _running.remove(running)
        # The same signal may reach a worker twice: the second one must not kill it while its program ends.
        if not _running and current_link() is None:
            _restore_signals()


def _stop_signals() -> list[signal.Signals]:
    """Return the signals that stop servers. SIGHUP is none under nohup, in a worker, or if the program handles it."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    return numbers


def _restore_signals() -> None:
    while _before:
        signal.signal(*_before.popitem())


def _on_signal(number: int, frame: object) -> None:
    global _first_signal
    again = number in (signal.SIGTERM, signal.SIGINT)  # of a closed terminal, both the shell and the system tell
    if current_link() is not None:
        now = monotonic()
        if _first_signal is None:
            _first_signal, again = now, False
        elif now - _first_signal < DUPLICATE_SIGNALS:
            return
    stop_servers(again=again, why=signal.Signals(number).name)


def stop_servers(*, again: bool, why: str) -> bool:
    """Stop the servers that signals stop, as a signal does. It may be called from any thread and in signal handlers.

    Args:
        again: whether servers that are stopping already have to return their calls in flight to the queues.
        why: the reason, for the log; ``""``: none is logged.

    Returns:
        Whether there are such servers, or were.
    """
    for running in list(_running):
        running.loop.call_soon_threadsafe(_stop, running, again, why)
    return _served


def _stop(running: _Running, again: bool, why: str) -> None:
    if running.stopping and not again:
        return
    if why:  # not in the signal handler, which may interrupt logging
        link = current_link()
        fields = log_fields("server.stop_requested", reason=why)
        if running.stopping:
            _log.info("%s again: the calls in flight return to their queues", why, extra=fields)
        else:
            _log.info("%s: stopping%s", why, AGAIN if why == "SIGINT" and link is None else "", extra=fields)
        if link is not None:
            link.tell("signalled")
    running.stopping = True
    running.stop()


_forking = threading.local()


def _before_fork() -> None:
    """Called before a fork: a signal to the child that comes before its handlers are reset must not be lost."""
    if _before:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _before.keys())


def _in_forked_child() -> None:
    """Called in a process that a handler has forked: a signal to it must not stop the servers of its parent."""
    _running.clear()
    for number in list(_before):
        del _before[number]
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    _after_fork()


def _after_fork() -> None:
    mask = vars(_forking).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_forked_child, after_in_parent=_after_fork)

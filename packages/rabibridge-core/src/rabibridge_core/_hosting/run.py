"""Runs a server until it is stopped: handles signals, and watches plug-in folders."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rabibridge_core._hosting.plugin_folder import PluginFolder
    from rabibridge_core._server.server import Server

__all__ = ["serve_until_stopped"]

_log = get_logger(__name__)
_running: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []
"""Event loop and ``stop`` of each server that a signal stops."""
_before: dict[signal.Signals, Any] = {}
"""The signal handlers to restore after the last of these servers."""


async def serve_until_stopped(server: Server, watched: Sequence[PluginFolder] = (), *, signals: bool = True) -> None:
    """Run the server until it is stopped. On the main thread, SIGTERM and SIGINT stop it gracefully.

    Args:
        server: a server that is connected and not started.
        watched: plug-in folders; when their files change, the services are changed while they run.
        signals: whether to install signal handlers; ``False`` leaves signals to the application.
    """
    with _stopped_by_signals(server.stop) if signals else nullcontext():
        watchers = [asyncio.create_task(_watch(server, folder)) for folder in watched]
        try:
            await server.run()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)


async def _watch(server: Server, folder: PluginFolder) -> None:
    from rabibridge_core._hosting.hot_reload import watch

    try:
        await watch(server, folder)
    except Exception as error:  # noqa: BLE001 - the services continue; health() tells of it
        _log.exception("%s is no longer watched; its services continue unchanged", folder.path)
        folder.not_watched = f"{type(error).__name__}: {error}"


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop this server, together with all others that run on the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    if not _running:
        _before.update({number: signal.signal(number, _on_signal) for number in (signal.SIGTERM, signal.SIGINT)})
    entry = (loop, stop)
    _running.append(entry)
    try:
        yield
    finally:
        _running.remove(entry)
        if not _running:
            while _before:
                signal.signal(*_before.popitem())


def _on_signal(number: int, frame: object) -> None:
    for loop, stop in _running:
        loop.call_soon_threadsafe(_stop, stop, signal.Signals(number).name)


def _stop(stop: Callable[[], None], signal_name: str) -> None:
    _log.info("%s: stopping", signal_name)  # not in the signal handler, which may interrupt logging
    stop()

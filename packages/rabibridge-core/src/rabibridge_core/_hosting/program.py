"""Serves as a program does that does nothing else: connects, tells a service manager, and says when the broker is away.

It is what the command runs, in one process or in each worker, and what ``server.run()`` does.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._hosting.supervisor.service_manager import ServiceManager
from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EVENT_LOOPS", "ProgramServer", "loop_factory", "serve_program"]

_log = get_logger(__name__)
EVENT_LOOPS = ("auto", "asyncio", "uvloop")
_REMINDER = 60.0
"""How often the log says that the broker is still away, in seconds."""
_LOOK = 5.0


class ProgramServer(Protocol):
    """What :func:`serve_program` uses of a server."""

    @property
    def state(self) -> ConnectionState: ...

    @property
    def last_error(self) -> Exception | None: ...

    async def connect(self) -> object: ...

    async def close(self) -> None: ...

    async def run_serve(self, *, reload: bool = False) -> None: ...

    async def wait_serving(self, *names: str) -> None: ...


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops.

    Args:
        name: ``"asyncio"``, ``"uvloop"``, or ``"auto"`` for uvloop if it is installed.

    Raises:
        ConfigurationError: it is another name, or uvloop is not installed.
    """
    if name not in EVENT_LOOPS:
        raise ConfigurationError(f"there is no event loop {name!r}: use auto, asyncio or uvloop")
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ConfigurationError(
                    "the event loop uvloop is not installed: install rabibridge-rabbitmq[uvloop], or use asyncio"
                ) from None
        else:
            factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
            return factory
    return asyncio.new_event_loop


async def serve_program(server: ProgramServer, *, reload: bool = False, wait_for_broker: bool = False) -> None:
    """Connect, serve until a signal stops the server, and disconnect.

    Args:
        server: a server that is not connected.
        reload: as in ``run_serve``.
        wait_for_broker: try to connect until it succeeds.

    Raises:
        ConnectionLostError: no broker could be reached.
        ConfigurationError: as in ``connect`` and ``run_serve``.
    """
    manager = ServiceManager.take()  # a supervisor has left nothing of it to its workers
    beside: list[asyncio.Task[Any]] = []
    try:
        await _connect(server, wait=wait_for_broker)
        beside += [asyncio.create_task(_remind(server)), asyncio.create_task(_tell(server, manager))]
        await server.run_serve(reload=reload)
    finally:
        manager.stopping()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await server.close()
        manager.close()


async def _connect(server: ProgramServer, *, wait: bool) -> None:
    began, link = monotonic(), current_link()
    backoff, told = Backoff(0.5, 10.0), -_REMINDER
    while True:
        try:
            await server.connect()
        except ConnectionLostError as error:
            if not wait:
                raise
            if link is not None:
                link.tell("waiting")
            waited = monotonic() - began
            if waited - told >= _REMINDER:
                told = waited
                _log.warning(
                    "waiting for the broker, for %.0f s up to now: %s", waited, error,
                    extra=log_fields("broker.awaited", duration=waited, error=error),
                )  # fmt: skip
            await asyncio.sleep(backoff.next())
        else:
            if told >= 0:
                _log.info(
                    "connected, after %.0f s", monotonic() - began,
                    extra=log_fields("broker.reached", duration=monotonic() - began),
                )  # fmt: skip
            return


async def _remind(server: ProgramServer) -> None:
    """Say now and then that the connection is lost. Runs until cancelled."""
    lost_at = told_at = 0.0
    while True:
        await asyncio.sleep(_LOOK)
        now = monotonic()
        if server.state is ConnectionState.READY:
            lost_at = 0.0
        elif not lost_at:
            lost_at = told_at = now
        elif now - told_at >= _REMINDER:
            told_at = now
            _log.warning(
                "no connection to the broker for %.0f s: %s", now - lost_at, server.last_error,
                extra=log_fields("broker.away", duration=now - lost_at),
            )  # fmt: skip


async def _tell(server: ProgramServer, manager: ServiceManager) -> None:
    """Tell the service manager when the server serves, and that the event loop runs. Runs until cancelled."""
    while True:
        try:
            await server.wait_serving()
            break
        except ConfigurationError:  # the log says it, and the server tries again or ends with it
            await asyncio.sleep(_LOOK)
    manager.ready()
    while manager.watchdog:
        manager.alive()
        await asyncio.sleep(manager.watchdog / 4)

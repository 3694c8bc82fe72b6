"""Serves the dashboard by itself, with uvicorn."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

__all__ = ["serve"]


class _Server(uvicorn.Server):
    """Leaves signals to :func:`serve`: uvicorn would wait for open pages, and end by the signal instead of status 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: ASGIApp, end_streams: Callable[[], None], host: str, port: int, started: Callable[[int], None]
) -> None:
    """Serve a dashboard until SIGTERM or SIGINT.

    Args:
        app: the dashboard.
        end_streams: ends what its open pages read, so that the server can stop.
        host: the address to listen on.
        port: the port to listen on; 0: any that is free.
        started: called with the port as soon as requests are accepted.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"the dashboard cannot listen on {host}, port {port}: {error}; --host and --port choose others"
        ) from error
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # which would log the token in an address
        server_header=False,
        ws="none",  # there are none here; an older uvicorn would load what newer websockets are about to remove
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)

    def stop() -> None:
        end_streams()
        server.should_exit = True

    with suppress(NotImplementedError):  # on Windows, where Ctrl-C cancels
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
    with listening:
        started(listening.getsockname()[1])
        await server.serve([listening])

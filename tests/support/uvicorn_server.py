"""Serves an ASGI application with uvicorn, in the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["on_uvicorn"]


@asynccontextmanager
async def on_uvicorn(app: Any, *, ending: Callable[[], None] = lambda: None, **options: Any) -> AsyncIterator[int]:
    """Serve ``app`` on the loopback interface; give its port.

    Args:
        app: the application.
        ending: called before the server is told to stop.
        options: more settings of uvicorn.

    Raises:
        RuntimeError: the server has ended before it accepted requests: clients of the open port would wait for nobody.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings: dict[str, Any] = {
            "log_level": "warning",
            "access_log": False,
            "lifespan": "on",
            "timeout_graceful_shutdown": 5,
        }
        server = uvicorn.Server(uvicorn.Config(app, **settings | options))
        running = asyncio.create_task(server.serve([listening]))
        while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn gives no notice
            await asyncio.sleep(0.01)
        if running.done():
            await running
            raise RuntimeError("uvicorn has not started: its log says why")
        try:
            yield int(listening.getsockname()[1])
        finally:
            ending()
            server.should_exit = True
            await soon(running)

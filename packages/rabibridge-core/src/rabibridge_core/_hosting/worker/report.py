"""Tells the supervisor that the servers of this worker receive calls, and that its event loop runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._server.worker_status import resident_memory

if TYPE_CHECKING:
    from rabibridge_core._hosting.worker.link import WorkerLink
    from rabibridge_core._server.server import Server

__all__ = ["report"]


async def report(link: WorkerLink, server: Server) -> None:
    """Report until cancelled. Each report says how many calls were answered, and how much memory is used."""
    link.server_starts()
    waiting = asyncio.ensure_future(server.wait_started())
    try:
        while not waiting.done():
            link.beat()
            await asyncio.wait((waiting,), timeout=link.beat_interval)
        waiting.result()
        link.server_started(server.services.drain_timeout)
        while True:
            link.beat(calls=server.services.answered, memory=resident_memory() or 0)
            await asyncio.sleep(link.beat_interval)
    finally:
        waiting.cancel()

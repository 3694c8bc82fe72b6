"""Tells the supervisor that the servers of this worker receive calls, and that its event loop runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._observability.metrics import installed_metrics
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._server.worker_status import resident_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._hosting.worker.link import WorkerLink
    from rabibridge_core._observability.health import Health
    from rabibridge_core._server.server import Server

__all__ = ["report"]

_REASONS_MAX, _REASON_MAX = 8, 200  # a report is written in one piece, or not at all


async def report(link: WorkerLink, server: Server, health: Callable[[], Health]) -> None:
    """Report until cancelled. Each report tells calls answered, memory used, and problems.

    If the supervisor wants metrics, what is not counted call by call is put down as often.
    """
    metrics = installed_metrics()
    link.server_starts()
    waiting = asyncio.ensure_future(server.wait_started())
    try:
        while not waiting.done():
            link.beat()
            await asyncio.wait((waiting,), timeout=link.beat_interval)
        waiting.result()
        link.server_started(server.services.drain_timeout)
        while True:
            if metrics is not None:
                metrics.measure()
            found = health()
            reasons = () if found.ok else found.reasons[:_REASONS_MAX]
            problems = [printable(reason)[:_REASON_MAX] for reason in reasons]
            link.beat(calls=server.services.answered, memory=resident_memory() or 0, problems=problems)
            await asyncio.sleep(link.beat_interval)
    finally:
        waiting.cancel()
        if metrics is not None:
            metrics.measure()

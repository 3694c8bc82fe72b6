"""``rabibridge ping``."""

from __future__ import annotations

import time

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_line
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQBase

__all__ = ["app"]

app = command_app()


@app.command()
def ping() -> None:
    """Connect to the broker and print how long it took."""

    async def connect() -> float:
        started = time.perf_counter()
        async with RMQBase():
            return time.perf_counter() - started

    print_line(f"connected in {run(connect()) * 1000:.1f} ms")

"""``rabibridge ping``."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQBase
from rabibridge_core.errors import ConnectionLostError

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge ping --timeout 2
"""


@app.command(epilog=_EXAMPLES)
def ping(
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for the connection.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result, or an error, as JSON.")] = False,
) -> None:
    """Connect to the broker and print how long it took."""

    async def connect() -> float:
        base = RMQBase()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout), base:
                return time.perf_counter() - started
        except TimeoutError as error:
            brokers = ", ".join(map(str, base.settings.endpoints))
            raise ConnectionLostError(f"no connection to {brokers} within {timeout:g} s", executed=False) from error

    seconds = run(connect(), json_errors=as_json)
    if as_json:
        print_json({"seconds": seconds})
    else:
        print_line(f"connected in {seconds * 1000:.1f} ms")

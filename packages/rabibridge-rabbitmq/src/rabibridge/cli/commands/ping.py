"""``rabibridge ping``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.durations import milliseconds
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQBase, RMQClient
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge_core.introspection import Pong

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge ping --timeout 2
  rabibridge ping RMQServer@host:4711        as `rabibridge workers` names it, or its id

The exit status is 4 if the broker cannot be reached, and 7 if the worker does not answer.
"""


@app.command(epilog=_EXAMPLES)
def ping(
    worker: Annotated[
        str | None, typer.Argument(metavar="WORKER", help="A worker, instead of the broker.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for the answer.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result, or an error, as JSON.")] = False,
) -> None:
    """Measure how long the broker, or a worker, takes to answer."""
    if worker is not None:
        _print_pong(run(_ping_worker(worker, timeout), json_errors=as_json), as_json=as_json)
        return
    seconds = run(_connect(timeout), json_errors=as_json)
    if as_json:
        print_json({"seconds": seconds})
    else:
        print_line(f"connected in {milliseconds(seconds)}")


async def _connect(timeout: float) -> float:
    base = RMQBase()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout), base:
            return time.perf_counter() - started
    except TimeoutError as error:
        brokers = ", ".join(map(str, base.settings.endpoints))
        raise ConnectionLostError(f"no connection to {brokers} within {timeout:g} s", executed=False) from error


async def _ping_worker(worker: str, timeout: float) -> Pong:
    async with RMQClient() as client:
        pongs = await client.ping(worker, timeout=timeout)
    if not pongs:
        raise CallTimeoutError(f"no worker {worker!r} has answered within {timeout:g} s", timeout=timeout)
    return pongs[0]


def _print_pong(pong: Pong, *, as_json: bool) -> None:
    if as_json:
        print_json(pong.to_json())
        return
    clock = (
        f"its clock is {abs(pong.clock_difference) * 1000:.1f} ms {'ahead' if pong.clock_difference > 0 else 'behind'}"
    )
    told = f"{printable(pong.worker)} answered in {milliseconds(pong.seconds)}"
    print_line(f"{told}: process {pong.pid} on {printable(pong.host)}, RabiBridge {printable(pong.version)}, {clock}")

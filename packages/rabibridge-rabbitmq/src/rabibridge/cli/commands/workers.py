"""``rabibridge workers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.durations import age, milliseconds
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_table, print_warning
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient
from rabibridge_core._reporting.error_text import printable

if TYPE_CHECKING:
    from rabibridge_core.introspection import Workers, WorkerStatus

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge workers
  rabibridge workers --json | jq '.workers[] | select(.ready | not)'
"""
_HEADINGS = ("worker", "state", "up", "serves", "in hand", "calls/s", "cpu", "memory", "lag", "keys")


@app.command(epilog=_EXAMPLES)
def workers(
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for answers.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
) -> None:
    """Show the workers: process, load, event loop and memory."""

    async def ask() -> Workers:
        async with RMQClient() as client:
            return await client.workers(timeout=timeout)

    found = run(ask(), json_errors=as_json)
    if as_json:
        print_json(found.to_json())
    else:
        print_table(_HEADINGS, [_row(worker) for worker in found])
    for worker in found:
        for reason in worker.reasons:
            print_warning(f"{printable(worker.name)}: {printable(reason)}")
    for service in found.deaf:
        print_warning(f"{service.silent} of {service.consumers} workers of {service.name!r} have not answered")
    for name, reason in found.refused:
        print_warning(f"{printable(name)} does not tell: {printable(reason)}")
    if not found.workers:
        print_warning(f"no worker has answered within {timeout:g} s")


def _row(worker: WorkerStatus) -> tuple[object, ...]:
    state = "draining" if worker.draining else "ready" if worker.ready else "not ready"
    lag = worker.loop_lag_max if worker.loop_lag_max is not None else worker.loop_lag
    return (
        worker.name,
        state,
        age(worker.uptime),
        len(worker.services),
        worker.in_hand,
        worker.rate,
        "-" if worker.cpu is None else f"{worker.cpu:.0%}",
        "-" if worker.memory is None else f"{worker.memory / 2**20:,.0f} MiB",
        "-" if lag is None else milliseconds(lag),
        _keys(worker),
    )


def _keys(worker: WorkerStatus) -> str:
    """Return with which key it signs, which others it accepts, and with which it encrypts."""
    if not worker.signing_key:
        return "-"
    own = (worker.signing_key, worker.encryption_key)
    others = "".join(f" +{key_id}" for key_id in worker.accepted_keys if key_id not in own)
    return worker.signing_key + others + (f" ({worker.encryption_key})" if worker.encryption_key else "")

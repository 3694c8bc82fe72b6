"""``rabibridge health``."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_warning
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient
from rabibridge_core._reporting.error_text import printable

if TYPE_CHECKING:
    from rabibridge_core.introspection import WorkerStatus

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge health                     every worker of this broker
  rabibridge health --here              those of this machine or container, for a probe
  rabibridge health --host web-3

The exit status is 0 if all of them receive calls of all their services, 1 if one does not, 4 if the broker cannot be
reached, and 7 if no worker answers.
"""


@app.command(epilog=_EXAMPLES)
def health(
    host: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only workers on this machine.", show_default=False)
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Only workers on the machine of this command.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Longest wait for answers.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result, or an error, as JSON.")] = False,
) -> None:
    """Tell whether workers receive calls: for probes and scripts."""
    if here and host is not None:
        raise typer.BadParameter("it excludes --host", param_hint="--here")
    wanted = socket.gethostname() if here else host
    found = run(_ask(wanted, timeout), json_errors=as_json)
    if as_json:
        print_json({"workers": [_fields(worker) for worker in found]})
    else:
        for worker in found:
            print_line(printable(f"{worker.name}: {_state(worker)}"))
    if not found:
        where = "" if wanted is None else f" on {wanted!r}"
        print_warning(f"error: no worker{where} has answered within {timeout:g} s")
        raise typer.Exit(ExitCode.TIMEOUT)
    if not all(worker.ready for worker in found):
        raise typer.Exit(ExitCode.FAILED)


async def _ask(host: str | None, timeout: float) -> list[WorkerStatus]:
    async with RMQClient() as client:
        return [worker for worker in await client.workers(timeout=timeout) if host in (None, worker.host)]


def _state(worker: WorkerStatus) -> str:
    if worker.ready:
        return "ready"
    return "; ".join(worker.reasons) or ("stopping" if worker.draining else "not ready")


def _fields(worker: WorkerStatus) -> dict[str, object]:
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "ready": worker.ready,
        "draining": worker.draining,
        "reasons": list(worker.reasons),
    }

"""``rabibridge workers``: how the workers are, and what each of them runs now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.durations import age, milliseconds
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_table, print_warning
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from rabibridge_core.introspection import WorkerCalls, Workers, WorkerStatus

__all__ = ["app"]

app = command_app(invoke_without_command=True)

_EXAMPLES = """\b
Examples:
  rabibridge workers
  rabibridge workers --json | jq '.workers[] | select(.ready | not)'
  rabibridge workers dump                        what all workers run now
"""
_DUMP_EXAMPLES = """\b
Examples:
  rabibridge workers dump
  rabibridge workers dump RMQServer@host:4711    as `rabibridge workers` names it, or its id
  rabibridge workers dump --service order --json

The exit status is 7 if no worker answers. One whose event loop is blocked cannot: SIGUSR1 to its process, or to its
supervisor, shows in its log what it runs.
"""
_HEADINGS = ("worker", "state", "up", "serves", "in hand", "calls/s", "cpu", "memory", "lag", "keys")


@app.callback(epilog=_EXAMPLES)
def workers(
    ctx: typer.Context,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for answers.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
) -> None:
    """Show the workers: process, load, event loop and memory."""
    if ctx.invoked_subcommand is not None:
        return

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


@app.command(epilog=_DUMP_EXAMPLES)
def dump(
    worker: Annotated[
        str | None, typer.Argument(metavar="WORKER", help="Only this worker, by name or id.", show_default=False)
    ] = None,
    service: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only calls of this service.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for answers.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
) -> None:
    """Show which calls the workers run now, and where they are."""

    async def ask() -> tuple[WorkerCalls, ...]:
        async with RMQClient() as client:
            return await client.running_calls(worker, service=service, timeout=timeout)

    found = run(ask(), json_errors=as_json)
    if as_json:
        print_json({"workers": [one.to_json() for one in found]})
    for one in found:
        if one.refused:
            print_warning(f"{printable(one.worker)} does not tell: {printable(one.refused)}")
        elif not as_json:
            _print_calls(one)
    if not found:
        print_warning(
            f"no worker has answered within {timeout:g} s; SIGUSR1 to a worker whose event loop is blocked shows in "
            "its log what it runs"
        )
        raise typer.Exit(ExitCode.TIMEOUT)


def _print_calls(worker: WorkerCalls) -> None:
    calls = counted(worker.count, "call")
    print_line(f"{printable(worker.worker)}, process {worker.pid} on {printable(worker.host)}: {calls}")
    for call in worker.calls:
        left = "no deadline" if call.time_left is None else f"{call.time_left:.1f} s left"
        attempt = f", attempt {call.attempt}" if call.attempt > 1 else ""
        caller = printable(call.caller)
        called = f"{printable(call.service)} {printable(call.call_id)}"
        print_line(f"  {called}: for {call.age:.1f} s, {left}{attempt}, caller {caller}")
        for stack in call.stacks:
            for line in stack.lines():
                print_line(f"    {printable(line)}")
        if not call.running:
            print_line("    it waits for its turn")
    if worker.count > len(worker.calls):
        print_line(f"  and {worker.count - len(worker.calls)} more")


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

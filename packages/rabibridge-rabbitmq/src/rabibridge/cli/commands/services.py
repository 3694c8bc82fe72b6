"""``rabibridge services``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.durations import age
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_table, print_warning
from rabibridge.cli.runtime import run
from rabibridge.cli.service_rows import found_limit, rate_limit, row_of
from rabibridge.mq import RMQClient
from rabibridge_core._reporting.error_text import block, printable
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from rabibridge_core.introspection import Services, ServiceStatus

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge services
  rabibridge services add              signature, limits and last errors of one
  rabibridge services --json | jq '.services[].name'

Rates are of the last ten seconds, latencies of the last one or two minutes, from the arrival at a worker. Calls that a
full queue refused reach no worker and are not counted.
"""


@app.command(epilog=_EXAMPLES)
def services(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show all about this service.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for answers.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
) -> None:
    """Show what is served, by how many workers, and how it fares."""

    async def ask() -> Services:
        async with RMQClient() as client:
            return await client.services(name, timeout=timeout)

    found = run(ask(), json_errors=as_json)
    if as_json:
        print_json(found.to_json())
    elif name is not None:
        for service in found:
            _print_all_about(service)
    else:
        headings = ("service", "calls/s", "p50", "p99", "in hand", "waiting", "refused", "errors", "workers")
        print_table(headings, [row_of(service) for service in found])
    for worker, reason in found.refused:
        print_warning(f"{printable(worker)} does not tell: {printable(reason)}")
    if name is not None and not any(service.workers for service in found):
        print_warning(f"no worker that serves {printable(name)!r} has answered within {timeout:g} s")
        raise typer.Exit(ExitCode.NO_ROUTE)
    if not found.workers:
        print_warning(f"no worker has answered within {timeout:g} s")


def _print_all_about(service: ServiceStatus) -> None:
    print_line(f"{printable(service.name)}{printable(service.signature)} ({service.kind})")
    if service.doc:
        print_line(block(service.doc))
    for queue in service.queues:
        size = "" if queue.size is None else f" of {queue.size:,}"
        waiting = "-" if queue.waiting is None else f"{queue.waiting:,}"
        consumers = counted(queue.consumers or 0, "consumer")
        print_line(f"queue {printable(queue.name)}: {waiting}{size} waiting, {consumers}")
    limits = ", ".join(f"{key} {value}" for key, value in service.limits.items() if value not in (None, False, [], 0))
    print_line(f"limits: {printable(limits)}")
    print_line(f"workers: {', '.join(map(printable, service.workers)) or 'none has answered'}")
    counts = {key: count for key, count in service.counts.to_json().items() if count}
    print_line("calls: " + (", ".join(f"{count:,} {key}" for key, count in counts.items()) or "none yet"))
    row = row_of(service)
    print_line(f"now: {row.rate} calls/s, {row.in_hand:,} in hand{found_limit(service)}, p50 {row.p50}, p99 {row.p99}")
    if limit := rate_limit(service):
        print_line(limit)
    for worker, problem in service.problems.items():
        print_line(f"problem on {printable(worker)}: {printable(problem)}")
    for failure in service.failures:
        ago = age(max(0.0, time.time() - failure.last_at))
        print_line(
            f"\n{ago} ago, {counted(failure.count, 'time')}: {printable(failure.type)}: {printable(failure.message)}"
        )
        if failure.traceback:
            print_line(block(failure.traceback))

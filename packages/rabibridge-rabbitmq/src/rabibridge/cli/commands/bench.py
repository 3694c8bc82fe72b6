"""``rabibridge bench``."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Annotated, Any

import typer

from rabibridge.cli.bench_report import figures, print_figures, show_progress
from rabibridge.cli.call_arguments import (
    ArgsArgument,
    CallCommand,
    CriticalityOption,
    HeaderOption,
    KindOption,
    KwargsOption,
    NameArgument,
    read_arguments,
    read_headers,
    view_of,
)
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.load import Load
from rabibridge.cli.output import print_json, print_warning
from rabibridge.cli.runtime import report, run
from rabibridge.mq import RMQClient

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge bench add 1 2                         one caller, ten seconds
  rabibridge bench add 1 2 --concurrency 50        fifty callers, each after its answer
  rabibridge bench add 1 2 --rate 1000 --yes       1,000 calls per second, whatever happens

Latencies are those of the calls that succeeded, exact to 2 %. With --rate they count from when a call was due. Ctrl-C
ends it early and prints what was measured so far; the exit status is then 130.
"""


@app.command(cls=CallCommand, epilog=_EXAMPLES)
def bench(
    name: NameArgument,
    args: ArgsArgument = None,
    kwargs: KwargsOption = "{}",
    kind: KindOption = "any",
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", metavar="N", min=1, max=100_000, help="Closed loop: N callers.")
    ] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", "-r", metavar="N", min=0.001, max=1e6, help="Open loop: N calls per second.", show_default=False
        ),
    ] = None,
    duration: Annotated[float, typer.Option("--duration", "-d", metavar="SECONDS", min=0.001)] = 10.0,
    calls: Annotated[
        int | None,
        typer.Option("--calls", "-n", metavar="N", min=1, help="End after N calls.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Timeout of each call.")] = 10.0,
    criticality: CriticalityOption = None,
    header: HeaderOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON; durations in seconds.")] = False,
) -> None:
    """Measure how fast a function answers, by real calls."""
    positional, keywords = read_arguments(args, kwargs)
    if not math.isfinite(duration):
        raise typer.BadParameter("must be a number of seconds", param_hint="--duration")

    async def measure() -> tuple[Load, bool]:
        client = RMQClient()
        options = {"kind": kind, "timeout": timeout, "criticality": criticality, "headers": read_headers(header)}
        view = view_of(client, **options)
        if not yes:
            _confirm(name, ", ".join(map(str, client.settings.endpoints)))
        async with client:

            async def call() -> Any:
                return await view.call(name, *positional, **keywords)

            load = Load(call, duration=duration, calls=calls)
            progress = asyncio.create_task(show_progress(load, duration, calls))
            try:
                await (load.closed(concurrency) if rate is None else load.open(rate))
            except asyncio.CancelledError:  # Ctrl-C: what was measured is not lost
                return load, True
            finally:
                progress.cancel()
            return load, False

    load, interrupted = run(measure(), json_errors=as_json)
    if as_json:
        print_json(figures(load) | {"interrupted": interrupted})
    else:
        print_figures(load)
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if load.first_error is not None and not load.latencies.count:
        raise report(load.first_error, as_json=as_json)


def _confirm(name: str, broker: str) -> None:
    question = f"This makes real calls of {name!r} on {broker}: its workers run it each time."
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Give --yes to do so.", param_hint="--yes")
    print_warning(question)
    if not typer.confirm("Continue?", err=True):
        raise typer.Exit(ExitCode.FAILED)

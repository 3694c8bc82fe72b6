"""``rabibridge call``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rabibridge.cli.call_arguments import (
    ArgsArgument,
    CallCommand,
    CriticalityOption,
    HeaderOption,
    KindOption,
    KwargsOption,
    NameArgument,
    TimeoutOption,
    read_arguments,
    read_headers,
    view_of,
)
from rabibridge.cli.json_values import to_json
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import StdoutWriter, json_text, print_json, print_warning
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient
from rabibridge_core._reporting.error_text import printable

if TYPE_CHECKING:
    from rabibridge_core._protocol.progress import Progress

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge call add 1 -2
  rabibridge call greet Ann --kwargs '{"loud": true}'
  rabibridge call resize @photo.json --timeout 60
  rabibridge call report 2024 --stream | head -3

The exit status is 1 if the function raised an exception, 5 if its queue is full, 6 if nobody serves it, 7 after the
timeout, and 8 if the arguments do not fit.
"""


@app.command(cls=CallCommand, epilog=_EXAMPLES)
def call(
    name: NameArgument,
    args: ArgsArgument = None,
    kwargs: KwargsOption = "{}",
    kind: KindOption = "any",
    timeout: TimeoutOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="The function is a generator: print each item as one line, at once.")
    ] = False,
    idle_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Of a stream: longest wait for an item.", show_default=False)
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Of all calls with this key, a worker runs one; the call survives a lost connection.",
            show_default=False,
        ),
    ] = None,
    criticality: CriticalityOption = None,
    header: HeaderOption = None,
    json_errors: Annotated[bool, typer.Option("--json", help="Print an error as JSON, too.")] = False,
) -> None:
    """Call a function and print its result as JSON."""
    positional, keywords = read_arguments(args, kwargs)
    options = {
        "kind": kind,
        "timeout": timeout if timeout is not None else math.inf if stream else 10.0,
        "idle_timeout": idle_timeout,
        "idempotency_key": idempotency_key,
        "criticality": criticality,
        "headers": read_headers(header),
        "on_progress": _print_progress,
    }

    async def call_it() -> Any:
        client = RMQClient()
        view = view_of(client, **options)
        async with client:
            return await view.call(name, *positional, **keywords)

    async def print_items() -> None:
        client = RMQClient()
        view = view_of(client, **options)
        writer = StdoutWriter()
        async with client, view.stream(name, *positional, **keywords) as items:
            async for item in items:
                await writer.write(json_text(to_json(item)))

    if stream:
        run(print_items(), json_errors=json_errors)
    else:
        print_json(to_json(run(call_it(), json_errors=json_errors)))


def _print_progress(progress: Progress) -> None:
    share = "" if progress.fraction is None else f"{progress.fraction:.0%} "
    print_warning(f"progress: {share}{printable(progress.text)}".rstrip())

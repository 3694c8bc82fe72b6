"""``rabibridge notify``."""

from __future__ import annotations

from typing import Annotated

import typer

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
from rabibridge.cli.lazy import command_app
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge notify send_mail ann@example.org --kwargs '{"subject": "Hello"}'
  rabibridge notify rebuild_index --timeout 3600

It prints nothing; the exit status is 0 once the broker has stored the call.
"""


@app.command(cls=CallCommand, epilog=_EXAMPLES)
def notify(
    name: NameArgument,
    args: ArgsArgument = None,
    kwargs: KwargsOption = "{}",
    kind: KindOption = "any",
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="The function does not start after this time, and is stopped at its end. Default: no limit.",
            show_default=False,
        ),
    ] = None,
    persistent: Annotated[bool, typer.Option(help="The broker stores the call on disk.")] = True,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Of all calls with this key, a worker runs one.", show_default=False),
    ] = None,
    criticality: CriticalityOption = None,
    header: HeaderOption = None,
    json_errors: Annotated[bool, typer.Option("--json", help="Print an error as JSON.")] = False,
) -> None:
    """Let a function run without waiting for its result."""
    positional, keywords = read_arguments(args, kwargs)
    options = {
        "kind": kind,
        "timeout": timeout,
        "persistent": persistent,
        "idempotency_key": idempotency_key,
        "criticality": criticality,
        "headers": read_headers(header),
    }

    async def notify_it() -> None:
        client = RMQClient()
        view = view_of(client, **options)
        async with client:
            await view.notify(name, *positional, **keywords)

    run(notify_it(), json_errors=json_errors)

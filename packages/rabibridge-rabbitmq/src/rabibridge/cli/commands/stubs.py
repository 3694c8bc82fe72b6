"""``rabibridge stubs``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer evaluates the annotations
from typing import Annotated

import typer

from rabibridge.cli.descriptions import described_source, described_workers, end_with_failures, write
from rabibridge.cli.lazy import command_app
from rabibridge.cli.runtime import report_errors

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge stubs services.py -o shop.py
  rabibridge stubs openrpc.json -o shop.py       from a file that the other team has sent
  rabibridge stubs --live -o shop.py             from running workers

Then, in Python: `await client.call(shop.add, 1, b=2)`.
"""


@app.command(epilog=_EXAMPLES)
def stubs(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", help="A target as of `rabibridge run`, or an OpenRPC file (.json).", show_default=False
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask running workers.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for workers.")] = 2.0,
    title: Annotated[
        str | None, typer.Option(help="What the module says it declares.", show_default="the source")
    ] = None,
    factory: Annotated[bool, typer.Option("--factory", help="The target names a function.")] = False,
    app_dir: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="Import modules from this folder first.", show_default="the current one"),
    ] = ".",
) -> None:
    """Write a typed module for callers who have not the code of the services.

    It declares each service as a function or as the method of a protocol, with its types and errors. It needs
    rabibridge, and nothing of the service.
    """
    if (source is None) != live:
        raise typer.BadParameter("give a source, or --live", param_hint="SOURCE")
    with report_errors():
        if source is None:
            described = described_workers((), timeout)
        else:
            described = described_source(source, app_dir, factory=factory)
        write(described.client_module(title or source or "running workers"), output)
        end_with_failures(described)

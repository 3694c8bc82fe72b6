"""``rabibridge schema`` and ``rabibridge schema diff``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - Typer evaluates the annotations
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from rabibridge.cli.descriptions import (
    described_source,
    described_targets,
    described_workers,
    end_with_failures,
    write,
)
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_warning
from rabibridge.cli.runtime import report_errors

__all__ = ["app"]

_WRITE = "write"
_EXAMPLES = """\b
Examples:
  rabibridge schema services.py                        OpenRPC, on standard output
  rabibridge schema services:server -o openrpc.json
  rabibridge schema services.py --format asyncapi
  rabibridge schema --live                             what running workers serve
  rabibridge schema diff openrpc.json services.py      in CI: what breaks callers

`write` may be left out.
"""


class _WriteUnlessNamed(TyperGroup):
    """Takes what is no command for the target of ``write``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``write`` in front of arguments that begin with something else."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_WRITE, *args]
        return super().parse_args(ctx, args)


app = command_app(
    cls=_WriteUnlessNamed,
    help="Describe the services for others, or compare two descriptions.",
    epilog=_EXAMPLES,
)

AppDir = Annotated[
    str, typer.Option(metavar="FOLDER", help="Import modules from this folder first.", show_default="the current one")
]
Factory = Annotated[bool, typer.Option("--factory", help="The target names a function that returns the server.")]


@app.command(_WRITE)
def write_schema(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="TARGET...", help="As of `rabibridge run`; with --live: names.", show_default=False),
    ] = None,
    output_format: Annotated[Literal["openrpc", "asyncapi"], typer.Option("--format", help="Which document.")] = (
        "openrpc"
    ),
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask running workers instead of loading code.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Longest wait for workers.")] = 2.0,
    title: Annotated[str | None, typer.Option(help="The title.", show_default="the target")] = None,
    api_version: Annotated[str, typer.Option(metavar="VERSION", help="The version of the interface.")] = "1.0.0",
    factory: Factory = False,
    app_dir: AppDir = ".",
) -> None:
    """Write an OpenRPC or AsyncAPI document.

    Code is loaded as `rabibridge run` loads it, and no broker is needed. A service whose annotations name what is not
    found is left out; the exit status is 3 then.
    """
    if not targets and not live:
        raise typer.BadParameter("give a target, or --live", param_hint="TARGET")
    with report_errors():
        described = (
            described_workers(targets or (), timeout)
            if live
            else described_targets(targets or (), app_dir, factory=factory)
        )
        make = described.openrpc if output_format == "openrpc" else described.asyncapi
        document = make(title or ", ".join(targets or ()) or "services", api_version)
        write(json.dumps(document, indent=2, allow_nan=False) + "\n", output)
        end_with_failures(described)


@app.command(
    epilog="""\b
Examples:
  rabibridge schema diff openrpc.json services.py
  git show main:openrpc.json | rabibridge schema diff - openrpc.json --json
"""
)
def diff(
    old: Annotated[str, typer.Argument(help="What callers know: an OpenRPC file (.json), `-`, or a target.")],
    new: Annotated[str, typer.Argument(help="What will be served: the same.")],
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    factory: Factory = False,
    app_dir: AppDir = ".",
) -> None:
    """Say what breaks callers: one line for each change, and the exit status 1 if there is one that breaks.

    A warning is a change with which calls go on and behave differently, such as another default or a lower limit.
    """
    with report_errors(as_json=as_json):
        before, after = (described_source(each, app_dir, factory=factory) for each in (old, new))
        changes = before.changes_to(after)
        breaks = any(each.breaks for each in changes)
        if as_json:
            print_json({"breaks": breaks, "changes": [each.to_json() for each in changes]})
        else:
            for each in changes:
                print_line(f"{'breaks' if each.breaks else 'warning'}: {each}")
            if not changes:
                print_warning("no change that callers notice")
        for described in (before, after):
            end_with_failures(described)
    if breaks or (strict and changes):
        raise typer.Exit(ExitCode.FAILED)

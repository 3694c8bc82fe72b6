"""``rabibridge doctor``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import console, print_json
from rabibridge.cli.runtime import run
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from rabibridge_core.operations import Role
    from rabibridge_core.operations.findings import Finding, Report

__all__ = ["app"]

app = command_app()

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "bold red"}
_INDENT = " " * 9
_WIDTH_MAX = 110


@app.command()
def doctor(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="Modules, files or plug-in folders whose services are served: their queues are checked, too.",
        ),
    ] = None,
    role: Annotated[
        Literal["client", "server", "both", "operator"],
        typer.Option(help="What the user of the broker is for: which permissions it needs."),
    ] = "both",
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Time for each step, in seconds.")] = 5.0,
    strict: Annotated[bool, typer.Option(help="Exit with status 1 for warnings, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find out what is wrong between here and the broker.

    It checks the configuration, the host name, the port, TLS, the login, each permission, alarms of the broker, the
    clocks, queues and dead letters. It needs no management plug-in, and what it declares, it deletes. The exit status
    is 1 if there is a failure.
    """
    from rabibridge_core.operations.findings import Report, Status

    report = Report(None if as_json else _print)
    run(_examine(report, targets or [], role, timeout))
    if as_json:
        print_json({"status": str(report.worst), "findings": [finding._asdict() for finding in report.findings]})
    else:
        counts = {status: sum(finding.status is status for finding in report.findings) for status in Status}
        console().print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if report.worst is Status.FAILURE or (strict and report.worst is Status.WARNING):
        raise typer.Exit(ExitCode.FAILED)


async def _examine(report: Report, targets: list[str], role: Role, timeout: float) -> None:
    from rabibridge._operations.chosen import operator_of
    from rabibridge._operations.configuration_checks import check_configuration
    from rabibridge.cli.operations import broker_settings, queues_of
    from rabibridge_core.operations import Examination
    from rabibridge_core.operations.findings import Finding, Status

    check_configuration(report)
    if report.worst is Status.FAILURE:
        return
    settings = broker_settings()
    try:
        queues = queues_of(targets)
    except RabiBridgeError as error:
        advice = "check what is to be served: rabibridge run serves the same targets"
        report.append(Finding("target", ", ".join(targets), Status.FAILURE, str(error), advice))
        return
    operator = operator_of(settings)
    await operator.examine(Examination(role=role, queues=queues, limit=timeout), report)


def _print(finding: Finding) -> None:
    from rich.text import Text

    out = console()
    width = min(out.width, _WIDTH_MAX)
    subject = f"{finding.subject}: " if finding.subject else ""
    text = f"{finding.check}: {printable(subject + finding.text)}"
    first, *others = textwrap.wrap(text, width - len(_INDENT), break_on_hyphens=False) or [""]
    line = Text(f"{finding.status:8} ", style=_COLOURS[finding.status])
    line.append(first, style="default not bold")
    lines = [line, *(Text(_INDENT + other) for other in others)]
    if finding.advice:
        advice = textwrap.wrap(printable(finding.advice), width - len(_INDENT) - 3, break_on_hyphens=False)
        lines += [Text(_INDENT + ("-> " if not number else "   ") + part) for number, part in enumerate(advice)]
    for each in lines:
        out.print(each, soft_wrap=True)

"""Asks before something is destroyed, and says how many."""

from __future__ import annotations

import sys

import typer

from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.output import print_warning
from rabibridge_core._reporting.error_text import printable

__all__ = ["confirm"]


def confirm(question: str, *, yes: bool) -> None:
    """Ask a question on the terminal; go on if the answer is yes.

    Args:
        question: what is about to be done, with how many.
        yes: the answer was given beforehand.

    Raises:
        Exit: the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        print_warning(
            f"error: {printable(question)} There is no terminal to ask on: nothing was done. Add --yes to do it"
        )
        raise typer.Exit(ExitCode.USAGE)
    if not typer.confirm(printable(question), err=True):
        print_warning("nothing was done")
        raise typer.Exit(ExitCode.FAILED)

"""Runs a command: event loop, logging, and errors as one line with an exit status."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from rabibridge.cli.error_report import report
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.logs import set_log_level
from rabibridge.cli.output import StdoutClosedError
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

__all__ = ["check_log_level", "log_to_stderr", "loop_factory", "report", "report_errors", "run", "set_log_level"]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, json_errors: bool = False) -> T:
    """Run a coroutine on uvloop if it is installed, and return what it returns.

    An error of RabiBridge ends the command with one line on standard error and the exit status of
    :mod:`rabibridge.cli.exit_codes`. Ctrl-C cancels the coroutine, and so its calls.

    Args:
        work: what to run.
        json_errors: print an error as one line of JSON.
    """
    with report_errors(as_json=json_errors), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)


@contextmanager
def report_errors(*, as_json: bool = False) -> Iterator[None]:
    """Let an error of the block end the command, as :func:`run` does."""
    try:
        yield
    except RabiBridgeError as error:
        raise report(error, as_json=as_json) from error
    except StdoutClosedError as error:
        raise typer.Exit(ExitCode.BROKEN_PIPE) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(ExitCode.INTERRUPTED) from error


def loop_factory() -> Any:
    """Return what makes event loops: uvloop if it is installed, else ``None`` for that of asyncio."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def check_log_level(name: str | None) -> None:
    """Refuse what is no log level.

    Raises:
        BadParameter: it is none.
    """
    if name is not None and not logging.getLevelNamesMapping().get(name.upper()):
        raise typer.BadParameter(
            f"{name!r} is not a log level; use DEBUG, INFO, WARNING, ERROR or CRITICAL", param_hint="--log-level"
        )


def log_to_stderr(level: str) -> None:
    """Log on standard error from this level on."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    set_log_level(level)

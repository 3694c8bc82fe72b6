"""Runs a command: event loop, logging, and errors as one line with an exit status."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from rabibridge.cli.exit_codes import ExitCode, exit_code_of
from rabibridge.cli.output import StdoutClosedError, json_text, print_warning
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.errors import (
    CallError,
    ConfigurationError,
    ConnectionLostError,
    QueueFullError,
    RabiBridgeError,
    RemoteExecutionError,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["check_log_level", "log_to_stderr", "loop_factory", "run", "set_log_level"]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, json_errors: bool = False) -> T:
    """Run a coroutine on uvloop if it is installed, and return what it returns.

    An error of RabiBridge ends the command with one line on standard error and the exit status of
    :mod:`rabibridge.cli.exit_codes`. Ctrl-C cancels the coroutine, and so its calls.

    Args:
        work: what to run.
        json_errors: print an error as one line of JSON.
    """
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(work)
    except RabiBridgeError as error:
        raise report(error, as_json=json_errors) from error
    except StdoutClosedError as error:
        raise typer.Exit(ExitCode.BROKEN_PIPE) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(ExitCode.INTERRUPTED) from error


def report(error: RabiBridgeError, *, as_json: bool = False) -> typer.Exit:
    """Print an error on standard error, and return what ends the command with its exit status."""
    code = exit_code_of(error)
    if as_json:
        print_warning(json_text({"error": _fields(error, code)}))
        return typer.Exit(code)
    text = str(error) if isinstance(error, ConfigurationError) else printable(str(error))  # ours alone has lines
    print_warning(f"error: {type(error).__name__}{_whether_it_ran(error)}: {text}")
    if isinstance(error, RemoteExecutionError) and error.remote_traceback:
        print_warning(error.remote_traceback.rstrip())
    return typer.Exit(code)


def _fields(error: RabiBridgeError, code: ExitCode) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": str(error),
        "exit_status": int(code),
        "executed": getattr(error, "executed", None),
    }
    if isinstance(error, QueueFullError):
        fields["retry_after"] = error.retry_after
    if isinstance(error, RemoteExecutionError):
        fields |= {"remote_type": error.error_type, "remote_traceback": error.remote_traceback}
    if error.received is not None:
        fields["received"] = error.received
    return fields


def _whether_it_ran(error: RabiBridgeError) -> str:
    if not isinstance(error, CallError | ConnectionLostError):
        return ""
    return {False: " (it did not run)", True: " (it ran)", None: " (it may have run)"}[error.executed]


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


def set_log_level(name: str) -> None:
    """Change the level from which on the program logs."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(level)
    logging.getLogger("aiormq").setLevel(max(level, logging.INFO))  # at DEBUG it logs complete messages

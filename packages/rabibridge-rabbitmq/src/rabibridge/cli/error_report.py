"""How an error ends the command: what happened in one sentence, its class, whether the call ran, an exit status."""

from __future__ import annotations

import re
from typing import Any

import typer

from rabibridge.cli.exit_codes import ExitCode, exit_code_of
from rabibridge.cli.output import json_text, print_warning
from rabibridge_core._reporting.error_text import block, printable
from rabibridge_core.errors import (
    CallError,
    ConfigurationError,
    ConnectionLostError,
    InvalidArgumentsError,
    QueueFullError,
    RabiBridgeError,
    RemoteExecutionError,
)

__all__ = ["report"]

_PYDANTIC_DETAIL = re.compile(
    r"\n(\S[^\n]*)\n {2}(\S[^\n]*?)(?: \[type=\w+, (input_value=.*?), input_type=\w+\])?(?=\n|$)"
)


def report(error: RabiBridgeError, *, as_json: bool = False) -> typer.Exit:
    """Print an error on standard error, and return what ends the command with its exit status.

    What the worker and the broker say does not control the terminal and cannot forge a line.

    Args:
        error: why the command ends.
        as_json: print it as one line of JSON: ``{"error": {"type": ..., "message": ..., "executed": ...}}``.
    """
    code = exit_code_of(error)
    if as_json:
        print_warning(json_text({"error": _fields(error, code)}))
        return typer.Exit(code)
    message = str(error) if isinstance(error, ConfigurationError) else printable(_sentence(error))  # ours has lines
    print_warning(f"error: {type(error).__name__}{_whether_it_ran(error)}: {message}")
    if isinstance(error, RemoteExecutionError) and error.executed is not False:
        trace = error.remote_traceback.rstrip()
        if trace and trace != f"{error.error_type}: {error.error_message}":  # else the sentence has said all of it
            print_warning(block(trace))  # none of its lines can be taken for one of ours
    if error.received is not None:
        print_warning(f"The stream failed after {error.received:,} items.")
    return typer.Exit(code)


def _fields(error: RabiBridgeError, code: ExitCode) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": _sentence(error),
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


def _sentence(error: RabiBridgeError) -> str:
    if not isinstance(error, InvalidArgumentsError):
        return str(error)
    details = [
        f"{place}: {problem}" + (f" ({given})" if given else "")
        for place, problem, given in _PYDANTIC_DETAIL.findall(error.error_message)
    ]
    problem = "; ".join(details) or error.error_message
    return f"the arguments do not fit {error.func_name!r}: {problem}" if problem else str(error)


def _whether_it_ran(error: RabiBridgeError) -> str:
    if not isinstance(error, CallError | ConnectionLostError):
        return ""
    return {False: " (it did not run)", True: " (it ran)", None: " (it may have run)"}[error.executed]

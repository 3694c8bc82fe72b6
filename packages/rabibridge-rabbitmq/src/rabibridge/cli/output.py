"""What the command prints: results on standard output, everything else on standard error.

Text from other programs (names, errors, results) never controls the terminal: characters that print nothing are written
as escapes. Colour and boxes are for terminals alone, and ``NO_COLOR`` switches colour off.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from types import NoneType
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_executor import DaemonExecutor
from rabibridge_core._reporting.error_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

__all__ = [
    "StdoutClosedError",
    "StdoutWriter",
    "console",
    "json_text",
    "print_json",
    "print_line",
    "print_table",
    "print_warning",
]


_SHORT = 16  # such texts stay in one line, however narrow the terminal


class StdoutClosedError(Exception):
    """Who reads the standard output has gone. The command ends without a word."""


def print_line(text: str) -> None:
    """Print one line on standard output, at once.

    Raises:
        StdoutClosedError: nobody reads it.
    """
    try:
        sys.stdout.write(printable(text, lines=True) + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        _forget_stdout()
        raise StdoutClosedError from error


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, at once. It must have only what JSON has.

    Raises:
        StdoutClosedError: nobody reads it.
    """
    print_line(json_text(value))


def json_text(value: Any) -> str:
    """Return strict JSON in one line, without characters that control a terminal."""
    text = json.dumps(value, ensure_ascii=not _has_all_characters(), allow_nan=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


class StdoutWriter:
    """Writes lines without holding up the event loop, however long a reader such as ``less`` takes for them.

    It bypasses the buffer of ``sys.stdout``, whose lock a thread would still hold when the interpreter exits after
    Ctrl-C.
    """

    def __init__(self) -> None:
        """Start the thread that writes."""
        self._thread = DaemonExecutor(1, "rabibridge-stdout")
        self._descriptor = sys.stdout.fileno()

    async def write(self, line: str) -> None:
        """Write one line, and return when it is written.

        Raises:
            StdoutClosedError: nobody reads it.
        """
        data = (line + "\n").encode(sys.stdout.encoding, "backslashreplace")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, data)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError as error:
            raise StdoutClosedError from error


def print_warning(text: str) -> None:
    """Print lines on standard error."""
    sys.stderr.write(printable(text, lines=True) + "\n")
    sys.stderr.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print rows under their headings on standard output; columns of numbers are aligned to the right.

    Raises:
        StdoutClosedError: nobody reads it.
    """
    from rich.table import Table
    from rich.text import Text

    values = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in values]
    table = Table(box=None, title=title or None, title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    for index, heading in enumerate(columns):
        numbers = bool(values) and all(isinstance(row[index], (int, float, NoneType)) for row in values)
        short = all(len(row[index]) <= _SHORT for row in cells)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold", no_wrap=index > 0 and short)
    for row in cells:
        table.add_row(*map(Text, row))
    target = console()
    try:
        if target.is_terminal:
            target.print(table)
        else:
            with target.capture() as printed:
                target.print(table)
            sys.stdout.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))
            sys.stdout.flush()
    except BrokenPipeError as error:
        _forget_stdout()
        raise StdoutClosedError from error


def console(*, stderr: bool = False) -> Console:
    """Return a Rich console. Outside a terminal it has no colour, and lines are as long as they must be."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 1000
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


def _has_all_characters() -> bool:
    return sys.stdout.encoding.lower().startswith("utf")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return printable(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))


def _forget_stdout() -> None:
    """Let the interpreter flush into nothing when it exits, rather than report the broken pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

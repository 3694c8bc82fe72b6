"""The loggers of all modules: a record of theirs is one line, whatever the values in it say.

Errors of a broker, names, reply addresses and headers come from other programs. A line break in one of them could forge
a record, an escape sequence could control the terminal that shows it. An exception may also run code of its own when
it is described. So each value of a record is described safely and its control characters are escaped, at the one place
that all records pass; the modules log what they have.

Nothing is written unless the program says where: the loggers at the top have a ``NullHandler``, and no other handler is
ever added. A program that serves and has configured nothing gets warnings on standard error, as Python does it for
records that nobody handles: a server that loses calls must not do so in silence.

What a record keeps for other handlers is unchanged: the template of its message, and ``exc_info``. Handlers that format
the exception themselves, as error trackers do, see it as it is.
"""

from __future__ import annotations

import logging

from rabibridge_core._reporting.error_text import block, message_of, printable, repr_of, traceback_of

__all__ = ["TextBlock", "get_logger", "warn_on_stderr"]

_TOP = ("rabibridge", "rabibridge_core", "rabibridge_redis", "rabibridge_telemetry", "rabibridge_testing")
_silence = logging.NullHandler()
for _name in _TOP:
    logging.getLogger(_name).addHandler(_silence)


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose records cannot be forged by the values in them."""
    logger = logging.getLogger(name)
    logger.addFilter(_describe_safely)
    return logger


def warn_on_stderr() -> None:
    """Called when a server starts: without any handler of the program, warnings go where Python writes them."""
    for name in _TOP:
        logging.getLogger(name).removeHandler(_silence)


class TextBlock:
    """Text of several lines as a value of a record, where it stays that; its lines are indented."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Show ``text``."""
        self._text = text

    def __str__(self) -> str:
        """Return the lines, indented."""
        return block(self._text)


class _Described:
    """A value of a record, described when the record is formatted."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return printable(message_of(self._value))

    def __repr__(self) -> str:
        return printable(repr_of(self._value))


def _describe_safely(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_safe, record.args))
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        _, error, frames = record.exc_info
        record.exc_text = block(traceback_of(error, lambda: frames))
    return True


def _safe(value: object) -> object:
    return value if isinstance(value, int | float | TextBlock | _Described) else _Described(value)

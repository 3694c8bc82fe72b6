"""Describes exceptions, and text from outside, for replies, logs and terminals.

An exception class may do anything when it is asked for its text, its notes or its traceback, and so may the loader of
the module that raised it. Nothing here raises: what cannot be told is replaced by a remark. It also makes text from
other programs safe to print: a correlation id or an error message must not forge log lines or control a terminal.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from rabibridge_core._reporting.module_names import stable_type_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["block", "class_names", "message_of", "printable", "repr_of", "told", "traceback_of"]

_FRAMES_MAX = 64


def printable(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with control characters and other characters that print nothing written as escapes.

    Args:
        text: text from outside this program.
        lines: keep line breaks and tabs, for text that is printed as a block of its own.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or (lines and char in "\n\t")
        else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text
    )


def told(text: str) -> str:
    """Return text of another program for an error: escaped, and further lines indented, so that they stay its own."""
    return printable(text, lines=True).replace("\n", "\n  ")


def block(text: str) -> str:
    """Return text of several lines for a log: indented, so that none of its lines can be taken for another record."""
    return "\n".join(f"  {line}" for line in printable(text, lines=True).rstrip().split("\n"))


def class_names(cls: type[BaseException]) -> tuple[str, ...]:
    """Return the qualified names of an exception class and of its base classes, in the order of its MRO."""
    return tuple(_class_name(base) for base in type.mro(cls) if base is not object)


def _class_name(cls: type) -> str:
    return printable(_told(lambda: stable_type_name(cls), "its name"))


def message_of(value: object) -> str:
    """Return ``str(value)`` of an exception or another object, or a remark why there is none."""
    return _told(lambda: str.__str__(str(value)), f"{_class_name(type(value))}.__str__")


def repr_of(value: object) -> str:
    """Return ``repr(value)``, or a remark why there is none."""
    return _told(lambda: str.__str__(repr(value)), f"{_class_name(type(value))}.__repr__")


def traceback_of(
    error: BaseException,
    frames: Callable[[], TracebackType | None] | None = None,
    shown: Callable[[traceback.FrameSummary], bool] | None = None,
) -> str:
    """Return the traceback as Python prints it, with causes and notes.

    Args:
        error: the exception.
        frames: returns the frames to show; ``None``: all that the exception has.
        shown: tells which of these frames, and of those of its causes, are shown; ``None``: all.
    """
    if frames is None:
        frames = lambda: error.__traceback__  # noqa: E731 - an exception class may compute it, and raise
    try:
        described = traceback.TracebackException(type(error), error, frames(), compact=True)
        if shown is not None:
            _keep_frames(described, shown)
        return "".join(described.format())
    except BaseException as broken:  # noqa: BLE001 - the exception describes itself with code of its own
        return _plain(error, frames if shown is None else lambda: None, type(broken))


def _keep_frames(described: traceback.TracebackException, shown: Callable[[traceback.FrameSummary], bool]) -> None:
    waiting: list[traceback.TracebackException | None] = [described]
    while waiting:
        if (found := waiting.pop()) is not None:
            found.stack = traceback.StackSummary.from_list([frame for frame in found.stack if shown(frame)])
            waiting += [found.__cause__, found.__context__, *(found.exceptions or ())]


def _plain(error: BaseException, frames: Callable[[], TracebackType | None], why: type[BaseException]) -> str:
    """Return a traceback without source lines, causes and notes, for which no code of the exception is needed."""
    lines = [f"Traceback (most recent call last; it cannot be formatted in full: {_class_name(why)}):"]
    try:
        tb = frames()
        while tb is not None and len(lines) < _FRAMES_MAX:
            code = tb.tb_frame.f_code
            lines.append(f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}')
            tb = tb.tb_next
    except BaseException as broken:  # noqa: BLE001 - as above
        lines.append(f"  <no frames: {_class_name(type(broken))}>")
    return "\n".join([*lines, f"{_class_name(type(error))}: {message_of(error)}", ""])


def _told(tell: Callable[[], str], what: str) -> str:
    try:
        return tell()
    except BaseException as broken:  # noqa: BLE001 - code of an exception class may raise anything
        cls = type(broken)
        return f"<{what} raised {type.__getattribute__(cls, '__name__')}>"

"""The terminal as a program with a screen of its own needs it: single keys, and everything as before in the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["keys_of", "raw_keys", "redraw_on_resize"]

_NAMES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[D": "escape",
    "\x1bOD": "escape",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x1b[C": "enter",
    "\x1bOC": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}


@contextmanager
def raw_keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Hand each key to ``pressed`` by its name, on the running event loop; restore the terminal at the end.

    Ctrl-C still interrupts; Ctrl-Z does nothing, as it would leave the screen as it is. The key ``"gone"`` means that
    there is no terminal any more.
    """
    import termios

    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    changed = termios.tcgetattr(descriptor)
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[6][termios.VSUSP] = b"\0"

    def read() -> None:
        try:
            data = os.read(descriptor, 1024)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
            pressed("gone")
        for key in keys_of(data.decode("utf-8", "replace")):
            pressed(key)

    termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        try:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        except termios.error:
            return  # the terminal is gone


def keys_of(text: str) -> Iterator[str]:
    """Return the keys of what a terminal has sent at once: names of special keys, and single characters."""
    while text:
        found = next((length for length in (4, 3) if text[:length] in _NAMES), 1)
        yield _NAMES.get(text[:found], text[:found])
        text = text[found:]


@contextmanager
def redraw_on_resize(redraw: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Call ``redraw`` when the terminal gets another size, and ``end`` when it, or this process, is to end."""
    loop = asyncio.get_running_loop()
    signals = {signal.SIGWINCH: redraw, signal.SIGTERM: end, signal.SIGHUP: end}
    for number, handler in signals.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)

"""Asks a child process where it is, also while its function computes.

The connection for calls does not reach a child that computes. So it is sent SIGUSR1, and answers through a pipe of its
own, in two ways: ``faulthandler`` writes the stacks of its threads at once, in C, even while a library keeps Python
from running; and as soon as Python runs, a line of JSON with the stacks of its coroutines follows.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.user_frames import is_file_of_user
from rabibridge_core.introspection.reading import listed
from rabibridge_core.introspection.running import CallStack, Place

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CAN_ASK", "ChildStacks"]

CAN_ASK: Final = sys.platform != "win32"
_PATIENCE: Final = 1.0
"""How long a child may take to answer in Python, in seconds."""
_ANSWER_MAX: Final = 2**20
_STACKS_MAX: Final = 12
_LINE: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_MAIN: Final = re.compile(
    r"^(?:Current t|T)hread 0x[0-9a-f]+.*\(most recent call first\):\n((?:  .*\n)*)", re.MULTILINE
)


class ChildStacks:
    """Asks one child process; each of its methods may be called from any thread."""

    def __init__(self) -> None:
        """Open the pipe."""
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self.writing, False)  # a full pipe must not stop the function of a child
        self._pid = 0
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def started(self, pid: int) -> None:
        """Called when the child can be asked: it handles the signal."""
        self._pid = pid

    def ended(self, reap: Callable[[], int]) -> int:
        """Take what the child leaves, and return its exit code; from then on its id may be that of another process."""
        with self._lock:
            self._pid = 0
            return reap()

    def close(self) -> None:
        """Close the pipe."""
        with self._asking:
            for end in (self._reading, self.writing):
                with suppress(OSError):  # it was closed before
                    os.close(end)
            self._reading = self.writing = -1

    def ask(self, call_id: bytes) -> tuple[CallStack, ...]:
        """Return where this call is; it blocks for a second at most."""
        with self._asking:
            if self._reading < 0 or not self._signal():
                return ()
            where = f"child process {self._pid}"
            text, answer = self._read()
        if answer is not None:
            if "error" in answer:
                return (CallStack(where, note=f"its stacks cannot be read: {printable(str(answer['error']))[:1000]}"),)
            if answer.get("call") != call_id.decode("utf-8", "backslashreplace"):
                return ()  # it has another one by now
            return listed(answer.get("stacks"), lambda one: _renamed(CallStack.from_json(one), where), _STACKS_MAX)
        places = _main_thread(text)
        if not places:
            return (CallStack(where, note="it has not answered"),)
        return (CallStack(where, places, "its interpreter is busy; as it stands in C"),)

    def _signal(self) -> bool:
        with self._lock:
            if not self._pid:
                return False
            with suppress(BlockingIOError):  # the pipe is empty
                while os.read(self._reading, 65536):
                    pass
            os.kill(self._pid, signal.SIGUSR1)
            return True

    def _read(self) -> tuple[str, dict[str, Any] | None]:
        """Return what faulthandler has written, and the answer in JSON; ``None``: there is none."""
        ends_at, data = monotonic() + _PATIENCE, b""
        while len(data) < _ANSWER_MAX:
            if not select.select((self._reading,), (), (), max(0.0, ends_at - monotonic()))[0]:
                break
            data += os.read(self._reading, 65536)
            head, found, line = data.rpartition(b"\n{")
            if found and line.endswith(b"\n"):
                with suppress(ValueError):  # a line of the program that looks like one
                    return head.decode("utf-8", "replace"), json.loads(b"{" + line)
        return data.decode("utf-8", "replace"), None


def _renamed(stack: CallStack | None, where: str) -> CallStack | None:
    return None if stack is None else CallStack(f"{where}, {printable(stack.where)}", stack.places, stack.note)


def _main_thread(text: str) -> tuple[Place, ...]:
    """Return what faulthandler has written of the main thread, which runs the function: it comes last."""
    blocks = _MAIN.findall(text)
    found = [_LINE.fullmatch(line) for line in (blocks[-1].splitlines() if blocks else ())]
    places = [Place(one[1], int(one[2]), one[3], is_file_of_user(one[1])) for one in found if one is not None]
    inner = next((index for index, place in enumerate(places) if place.user), len(places))
    return (*(place for place in places if place.user), *places[:inner])

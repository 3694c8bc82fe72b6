"""The parent's side of the processes of a benchmark."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from benchmarks.environments import ROOT, compiled, interpreter_of
from benchmarks.roster import ENTRIES
from benchmarks.usage import cpu_seconds_of
from tools.broker import BrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from tools.broker import Broker

_END_TIMEOUT = 30.0
_ANSWER_TIMEOUT = 300.0


class Process:
    """A child process that executes one command after another; it ends when the context ends."""

    def __init__(self, name: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._process = subprocess.Popen(
            arguments, cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.read()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def tell(self, op: str, **arguments: float) -> dict[str, Any]:
        """Send a command and return the answer."""
        self.say(op, **arguments)
        return self.read()

    def say(self, op: str, **arguments: float) -> None:
        """Send a command; :meth:`read` waits for the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading reports the reason
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Wait for the answer."""
        assert self._process.stdout is not None
        # Only one line is requested at a time, so no line is left in the buffer, which select() does not see.
        if not select.select([self._process.stdout], [], [], _ANSWER_TIMEOUT)[0]:
            raise RuntimeError(f"the process {self._name!r} did not answer within {_ANSWER_TIMEOUT:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process {self._name!r} ended with status {self._process.wait(_END_TIMEOUT)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        try:
            self._process.communicate(timeout=_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


class Program(Process):
    """A server or client of a contender."""

    def __init__(self, role: Literal["serve", "call"], contender: str, url: str) -> None:
        name = f"{contender} {role}"
        if ENTRIES[contender].home == "c":
            super().__init__(name, [str(compiled("rpc")), role, url])
        else:
            interpreter = interpreter_of(contender)
            arguments = [interpreter.python, "-m", "benchmarks.program", role, contender, url]
            super().__init__(name, arguments, interpreter.variables)


def pid_of(broker: Broker) -> int | None:
    """Return the process id of the broker; ``None`` if it does not run on this machine."""
    with contextlib.suppress(BrokerError, OSError, ValueError):
        pid = int(broker.ctl("eval", "list_to_integer(os:getpid())."))
        if "beam" in Path(f"/proc/{pid}/comm").read_text():
            return pid
    return None


class BrokerCpu:
    """CPU seconds of the broker, if its process is visible on this machine."""

    def __init__(self, broker: Broker) -> None:
        self._pid = pid_of(broker)

    def read(self) -> float | None:
        """Return the CPU seconds used so far; ``None`` if unknown."""
        return None if self._pid is None else cpu_seconds_of(self._pid)

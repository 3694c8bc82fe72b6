"""The processes of a benchmark, seen from the one that directs them."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from benchmarks.environments import ROOT, compiled_client, interpreter_of
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
    """A process that does what it is told, one thing after the other; it ends with the context."""

    def __init__(self, name: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._process = subprocess.Popen(
            arguments, cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        """Of its process."""
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
        """Have it do something and return its answer."""
        self.say(op, **arguments)
        return self.read()

    def say(self, op: str, **arguments: float) -> None:
        """Have it do something; :meth:`read` waits for its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading says better what happened
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Wait for its answer."""
        assert self._process.stdout is not None
        # A line is asked for at a time, so none is left over in the buffer that select() does not see.
        if not select.select([self._process.stdout], [], [], _ANSWER_TIMEOUT)[0]:
            raise RuntimeError(f"the process {self._name!r} said nothing for {_ANSWER_TIMEOUT:g} s")
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
            super().__init__(name, [str(compiled_client()), role, url])
        else:
            interpreter = interpreter_of(contender)
            arguments = [interpreter.python, "-m", "benchmarks.program", role, contender, url]
            super().__init__(name, arguments, interpreter.variables)


def pid_of(broker: Broker) -> int | None:
    """Return the process of the broker; ``None`` where it is none of this machine."""
    with contextlib.suppress(BrokerError, OSError, ValueError):
        pid = int(broker.ctl("eval", "list_to_integer(os:getpid())."))
        if "beam" in Path(f"/proc/{pid}/comm").read_text():
            return pid
    return None


class BrokerCpu:
    """CPU seconds of the broker, where it is a process that this machine shows."""

    def __init__(self, broker: Broker) -> None:
        self._pid = pid_of(broker)

    def read(self) -> float | None:
        """CPU seconds so far; ``None`` where they cannot be known."""
        return None if self._pid is None else cpu_seconds_of(self._pid)

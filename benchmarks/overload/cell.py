"""Runs one contender under one load, with a new queue, server process and client process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from benchmarks.environments import ROOT, interpreter
from benchmarks.overload.figures import Figures, figures
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.terms import CAPACITY
from benchmarks.overload.watch import Watch
from benchmarks.usage import cpu_seconds_of

if TYPE_CHECKING:
    from types import TracebackType

    from tools.broker import Broker

_LOG_TAIL = 2000


class Program:
    """A child process that answers each line with a line; it is killed when the context ends."""

    def __init__(self, role: str, contender: str, url: str, *services: str) -> None:
        self.name = f"{contender} {role}"
        python = interpreter(LINEUP[contender].entry.home)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the context ends
        self._process = subprocess.Popen(
            [python.python, "-m", f"benchmarks.overload.{role}", contender, url, *services],
            cwd=ROOT, env=python.variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It may have a hundred thousand calls in flight, which nobody waits for.
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading reports the reason
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Wait for the next line of the process.

        Raises:
            RuntimeError: the process has ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"{self.name} ended with status {status}: {self._log.read()[-_LOG_TAIL:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Cell:
    """The results of one contender under one load."""

    contender: str
    load: float
    """As a multiple of the capacity."""
    figures: Figures
    cpu: dict[str, float | None]
    """CPU of client, server and broker, in cores: CPU seconds per second. ``None``: unknown."""
    depth: list[tuple[float, int]]
    """Pairs of seconds since the start and messages waiting in the queue."""
    memory: list[tuple[float, int]]
    """Pairs of seconds since the start and resident bytes of the broker; empty if unknown."""


def run(broker: Broker, pid: int | None, contender: str, load: float, seconds: float) -> Cell:
    """Offer ``load`` times the capacity for ``seconds``. ``pid`` is the broker's process id, if known."""
    participant = LINEUP[contender]
    url = broker.url if participant.default_vhost_only else broker.fresh_vhost()
    with Program("server", contender, url, "work") as server, Program("client", contender, url, "work") as client:
        server.read()
        client.read()
        with Watch(url, participant.queue, pid) as watch:
            before, start = _cpu(pid), monotonic()
            client.tell(rate=load * CAPACITY, seconds=seconds, seed=f"load {load:g}")
            log = client.read()
            took, after = monotonic() - start, _cpu(pid)
            server.tell()
            done = server.read()
    if watch.error is not None:
        print(f"the queue of {contender} could not be sampled to the end: {watch.error!r}", file=sys.stderr)
    broker_cpu = None if before is None or after is None else (after - before) / took
    return Cell(
        contender,
        load,
        figures(log, done["runs"], seconds),
        {"client": log["cpu"] / took, "server": done["cpu"] / took, "broker": broker_cpu},
        [(at - start, waiting) for at, waiting, _ in watch.samples],
        [(at - start, resident) for at, _, resident in watch.samples if resident is not None],
    )


def _cpu(pid: int | None) -> float | None:
    return None if pid is None else cpu_seconds_of(pid)

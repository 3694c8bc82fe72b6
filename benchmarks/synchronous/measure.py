"""Measures rounds of synchronous calls: all contenders stay connected and take turns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.compare.rounds import leaving_out, say
from benchmarks.environments import installed_version, interpreter
from benchmarks.processes import Process
from benchmarks.synchronous.roster import CONTENDERS

if TYPE_CHECKING:
    from types import TracebackType

    from tools.broker import Broker

_WARM_UP = 0.5


@dataclass(frozen=True)
class SyncRound:
    """One round: calls/s, median latency in seconds, CPU seconds of the client per call."""

    rate: float
    p50: float
    client: float


@dataclass(frozen=True)
class SyncMeasured:
    """The rounds by contender and number of threads; the versions; who was left out, and why."""

    rounds: dict[str, dict[int, list[SyncRound]]]
    versions: dict[str, str]
    left_out: dict[str, str]


class _Program(Process):
    """A server, which is killed at the end, or a client of a contender."""

    def __init__(self, role: Literal["serve", "call"], name: str, url: str) -> None:
        home = interpreter(CONTENDERS[name].home)
        arguments = [home.python, "-m", "benchmarks.synchronous.program", role, name, url]
        super().__init__(f"{name} {role}", arguments, home.variables)
        self._role = role

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._role == "serve":
            self._process.kill()
        super().__exit__(kind, error, traceback)

    def run(self, threads: int, seconds: float) -> SyncRound:
        """Let the client call."""
        done = self.tell("run", threads=threads, seconds=seconds)
        return SyncRound(done["calls"] / done["seconds"], done["p50"], done["cpu"] / done["calls"])


def measure(broker: Broker, names: list[str], threads: list[int], rounds: int, seconds: float) -> SyncMeasured:
    """Let the contenders take turns; one that cannot be installed or fails is left out, and the others continue."""
    measured = SyncMeasured({}, {}, {})
    with contextlib.ExitStack() as stack:
        clients: dict[str, _Program] = {}
        for name in names:
            entry = CONTENDERS[name]
            say(f"starting {entry.title}")
            with leaving_out(name, entry.title, measured):
                measured.versions[entry.distribution] = installed_version(entry.home, entry.distribution)
                url = broker.fresh_vhost()
                stack.enter_context(_Program("serve", name, url))
                clients[name] = stack.enter_context(_Program("call", name, url))
                for count in threads:
                    clients[name].run(count, _WARM_UP)
                measured.rounds[name] = {count: [] for count in threads}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for count in threads:
                for name in list(measured.rounds)[:: -1 if number % 2 else 1]:
                    with leaving_out(name, CONTENDERS[name].title, measured):
                        measured.rounds[name][count].append(clients[name].run(count, seconds))
    return measured

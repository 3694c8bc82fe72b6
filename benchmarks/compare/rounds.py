"""Rounds of calls: every contender is connected the whole time, and they take turns.

Whatever else the machine does meets all of them alike, and so does what a broker keeps of earlier work.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from benchmarks.environments import UnavailableError, ready
from benchmarks.processes import Program
from benchmarks.roster import ENTRIES
from benchmarks.usage import peak_bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from benchmarks.compare.stage import Stage

_WARM_UP = {128: 1.0, 1: 0.3}


@dataclass(frozen=True)
class Round:
    """What a contender did in one round: calls/s, seconds of latency, CPU seconds per call."""

    rate: float
    p50: float
    p95: float
    p99: float
    client: float
    server: float
    broker: float | None


Rounds = dict[str, dict[int, list[Round]]]
"""By contender and calls in flight."""


class Pair:
    """Server and client of a contender, connected as long as the context lasts."""

    def __init__(self, name: str, stage: Stage) -> None:
        self._entry = ENTRIES[name]
        self._stage = stage
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            url = self._stage.url(self._entry)
            self.server = self._stack.enter_context(Program("serve", self._entry.name, url))
            self.client = self._stack.enter_context(Program("call", self._entry.name, url))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, in_flight: int, seconds: float) -> Round:
        """Call for so long, so many calls at any time."""
        server, broker = self.server.tell("cpu")["cpu"], self._stage.cpu(self._entry)
        done = self.client.tell("run", in_flight=in_flight, seconds=seconds)
        after, calls = self._stage.cpu(self._entry), done["calls"]
        return Round(
            rate=calls / done["seconds"],
            p50=done["p50"],
            p95=done["p95"],
            p99=done["p99"],
            client=done["cpu"] / calls,
            server=(self.server.tell("cpu")["cpu"] - server) / calls,
            broker=None if broker is None or after is None else (after - broker) / calls,
        )

    def peaks(self) -> dict[str, int | None]:
        """Return the most resident bytes that each process ever had."""
        return {"client": peak_bytes_of(self.client.pid), "server": peak_bytes_of(self.server.pid)}


@dataclass(frozen=True)
class Measured:
    """What came of the rounds."""

    rounds: Rounds
    peaks: dict[str, dict[str, int | None]]
    left_out: dict[str, str]
    """Contenders that could not be had, or broke down, and why."""


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def measure(stage: Stage, names: list[str], in_flights: list[int], rounds: int, seconds: float) -> Measured:
    """Let the contenders take turns; one that cannot be had or breaks down is left out, and the others go on."""
    measured = Measured({}, {}, {})
    with contextlib.ExitStack() as stack:
        pairs = {}
        for name in names:
            say(f"starting {ENTRIES[name].title}")
            with _leaving_out(name, measured):
                ready(name)
                pairs[name] = stack.enter_context(Pair(name, stage))
                for in_flight, warm_up in _WARM_UP.items():
                    pairs[name].run(in_flight, warm_up)
                measured.rounds[name] = {in_flight: [] for in_flight in in_flights}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for in_flight in in_flights:
                # Every other round goes backwards, so that nobody always follows the same neighbour.
                for name in list(measured.rounds)[:: -1 if number % 2 else 1]:
                    with _leaving_out(name, measured):
                        measured.rounds[name][in_flight].append(pairs[name].run(in_flight, seconds))
        measured.peaks.update({name: pairs[name].peaks() for name in measured.rounds})
    return measured


@contextlib.contextmanager
def _leaving_out(name: str, measured: Measured) -> Iterator[None]:
    try:
        yield
    except (UnavailableError, RuntimeError) as error:
        say(f"{ENTRIES[name].title} is left out: {error}")
        measured.left_out[name] = str(error)
        measured.rounds.pop(name, None)

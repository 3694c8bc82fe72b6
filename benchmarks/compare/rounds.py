"""Measures rounds of calls: all contenders stay connected and take turns.

This way, other load on the machine and leftover state in the broker affect all of them equally.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

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
    """The figures of a contender in one round: calls/s, latency in seconds, CPU seconds per call."""

    rate: float
    p50: float
    p95: float
    p99: float
    client: float
    server: float
    broker: float | None


Rounds = dict[str, dict[int, list[Round]]]
"""The rounds by contender and number of calls in flight."""


class Pair:
    """Server and client of a contender, connected while the context is open."""

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
        """Call for ``seconds``, with ``in_flight`` calls in flight."""
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
        """Return the peak resident memory of each process, in bytes."""
        return {"client": peak_bytes_of(self.client.pid), "server": peak_bytes_of(self.server.pid)}


@dataclass(frozen=True)
class Measured:
    """The results of the rounds."""

    rounds: Rounds
    peaks: dict[str, dict[str, int | None]]
    left_out: dict[str, str]
    """Contenders that could not be installed or failed, and why."""


def say(text: str) -> None:
    """Print a progress message to standard error."""
    print(text, file=sys.stderr, flush=True)


def measure(stage: Stage, names: list[str], in_flights: list[int], rounds: int, seconds: float) -> Measured:
    """Let the contenders take turns; one that cannot be installed or fails is left out, and the others continue."""
    measured = Measured({}, {}, {})
    with contextlib.ExitStack() as stack:
        pairs = {}
        for name in names:
            say(f"starting {ENTRIES[name].title}")
            with leaving_out(name, ENTRIES[name].title, measured):
                ready(name)
                pairs[name] = stack.enter_context(Pair(name, stage))
                for in_flight, warm_up in _WARM_UP.items():
                    pairs[name].run(in_flight, warm_up)
                measured.rounds[name] = {in_flight: [] for in_flight in in_flights}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for in_flight in in_flights:
                # Every other round runs in reverse order, so that a contender does not always follow the same one.
                for name in list(measured.rounds)[:: -1 if number % 2 else 1]:
                    with leaving_out(name, ENTRIES[name].title, measured):
                        measured.rounds[name][in_flight].append(pairs[name].run(in_flight, seconds))
        measured.peaks.update({name: pairs[name].peaks() for name in measured.rounds})
    return measured


class Comparison(Protocol):
    """What was measured, by the names of the contenders."""

    @property
    def left_out(self) -> dict[str, str]:
        """Why contenders are missing."""
        ...

    @property
    def rounds(self) -> dict[str, Any]:
        """Their rounds."""
        ...


@contextlib.contextmanager
def leaving_out(name: str, title: str, measured: Comparison) -> Iterator[None]:
    """Leave a contender out, and say why, if what is done with it in the block fails."""
    try:
        yield
    except (UnavailableError, RuntimeError) as error:
        say(f"{title} is left out: {error}")
        measured.left_out[name] = str(error)
        measured.rounds.pop(name, None)

"""Measures streams: all contenders stay connected and take turns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.compare.rounds import leaving_out, say
from benchmarks.environments import compiled, installed_version, interpreter, nats_server
from benchmarks.processes import Process
from benchmarks.streams.roster import CONTENDERS

if TYPE_CHECKING:
    from benchmarks.compare.stage import Stage

__all__ = ["LARGE", "SMALL", "StreamMeasured", "StreamRound", "measure"]

SMALL, LARGE = 16, 64 * 1024
"""Sizes of items, in bytes."""
_PROBE = {SMALL: 2_000, LARGE: 200}
"""Items of the stream that is read before the rounds, to learn how many take a round."""
_TIMES = 200
_MIB = 1024 * 1024


@dataclass(frozen=True)
class StreamRound:
    """One round; ``None``: the contender does not do that.

    Attributes:
        mib: MiB per second, with large items.
        items: small items per second.
        cpu: CPU seconds of the reader for each of them.
        first: median time to the first item, in seconds.
        call: median time of a call, in seconds.
    """

    mib: float
    items: float | None = None
    cpu: float | None = None
    first: float | None = None
    call: float | None = None


@dataclass(frozen=True)
class StreamMeasured:
    """The rounds by contender; the versions; who was left out, and why."""

    rounds: dict[str, list[StreamRound]]
    versions: dict[str, str]
    left_out: dict[str, str]


class _Program(Process):
    """A server or a reader of a contender."""

    def __init__(self, role: Literal["serve", "read"], name: str, url: str) -> None:
        entry = CONTENDERS[name]
        self._in_c = entry.home == "c"
        if self._in_c:
            super().__init__(f"{name} {role}", [str(compiled("stream")), role, url])
        else:
            home = interpreter(entry.home)
            arguments = [home.python, "-m", "benchmarks.streams.program", role, name, url]
            super().__init__(f"{name} {role}", arguments, home.variables)
        self._rates: dict[int, float] = {}

    def warm_up(self) -> None:
        """Learn how many items per second there are."""
        for size, count in _PROBE.items():
            if size == LARGE or not self._in_c:
                self._read(size, count)
                self._read(size, count)
        if not self._in_c:
            self.tell("first", times=20)

    def round(self, seconds: float) -> StreamRound:
        """Read a stream of each size for about that time, and measure how long first items take.

        What is written in C only transfers bytes: it does not gather, encode or decode small items.
        """
        large, many = self._read(LARGE, self._count(LARGE, seconds))
        mib = many * LARGE / _MIB / large["seconds"]
        if self._in_c:
            return StreamRound(mib)
        small, count = self._read(SMALL, self._count(SMALL, seconds))
        took = self.tell("first", times=_TIMES)
        return StreamRound(mib, count / small["seconds"], small["cpu"] / count, took["first"], took["call"])

    def _count(self, size: int, seconds: float) -> int:
        return max(_PROBE[size], int(self._rates[size] * seconds))

    def _read(self, size: int, count: int) -> tuple[dict[str, float], int]:
        done = self.tell("read", count=count, size=size)
        self._rates[size] = count / done["seconds"]
        return done, count


def measure(stage: Stage, names: list[str], rounds: int, seconds: float) -> StreamMeasured:
    """Let the contenders take turns; one that cannot be installed or fails is left out, and the others continue."""
    measured = StreamMeasured({}, {}, {})
    with contextlib.ExitStack() as stack:
        readers: dict[str, _Program] = {}
        for name in names:
            entry = CONTENDERS[name]
            say(f"starting {entry.title}")
            with leaving_out(name, CONTENDERS[name].title, measured):
                if entry.through == "NATS":
                    nats_server()
                if entry.distribution is not None:
                    measured.versions[entry.distribution] = installed_version(entry.home, entry.distribution)
                url = stage.url(entry)
                stack.enter_context(_Program("serve", name, url))
                readers[name] = stack.enter_context(_Program("read", name, url))
                readers[name].warm_up()
                measured.rounds[name] = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name in list(measured.rounds)[:: -1 if number % 2 else 1]:
                with leaving_out(name, CONTENDERS[name].title, measured):
                    measured.rounds[name].append(readers[name].round(seconds))
    return measured

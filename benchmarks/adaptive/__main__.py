"""Measures ``fetch_size="auto"`` and writes its part of docs/overload.md: ``python -m benchmarks.adaptive``."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.adaptive.phases import BACKENDS, LATENCY, LOAD, PHASES, QUEUE_SIZE, TIMEOUT, best
from benchmarks.adaptive.virtual import simulated
from benchmarks.brokers import broker_to_measure
from benchmarks.charts import Chart, Series, draw
from benchmarks.compare.machine import describe
from benchmarks.contenders.base import RefusedError
from benchmarks.environments import ROOT
from benchmarks.overload.flood import RESULT, Flood, arrivals
from benchmarks.roster import US
from rabibridge import QueueFullError, RMQClient

if TYPE_CHECKING:
    from pathlib import Path

PAGE, PICTURES = ROOT / "docs/overload.md", ROOT / "docs/overload"
_BEGIN, _END = "<!-- figures of auto -->", "<!-- end of the figures of auto -->"
_WITHIN = 5.0
"""After how many seconds from a change what is given counts."""
_TARGET = 0.9
_BIN = 1.0
LIMITS = {"auto": 'fetch_size="auto"', "best": "the best number of each phase", "256": "fetch_size=256"}


@dataclass(frozen=True)
class Measured:
    """One run: good results, and the limit, over time."""

    ended: list[float]
    limits: list[tuple[float, int]]

    def rate(self, start: float, end: float) -> float:
        """Return how many good results came in one second."""
        return sum(start <= moment < end for moment in self.ended) / (end - start)


async def _offer(url: str, seconds: float) -> Flood:
    """Offer more than the capacity of each phase."""
    moments = [
        seconds * phase + moment
        for phase, rate in enumerate(PHASES)
        for moment in arrivals(LOAD * rate, seconds, f"phase {phase}")
    ]
    async with RMQClient(url=url) as client:
        work = client.options(timeout=TIMEOUT)

        async def call(number: int) -> object:
            try:
                return await work.remote_call("work", (number,))
            except QueueFullError:
                raise RefusedError from None

        flood = Flood(call, moments)
        await flood.run(seconds * len(PHASES), TIMEOUT)
    return flood


def _run(url: str, backend: str, seconds: float, limit: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.adaptive.server", url, backend, str(seconds), limit]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdout.readline()
        server.stdin.write("go\n")
        server.stdin.flush()
        flood = asyncio.run(_offer(url, seconds))
        told = json.loads(server.stdout.readline())
    late = flood.start - told["start"]
    ended = [moment + late for moment, outcome in zip(flood.ended, flood.outcomes, strict=True) if outcome == RESULT]
    return Measured(ended, told["limits"])


def _table(backend: str, runs: dict[str, Measured], seconds: float) -> tuple[str, bool]:
    rows = [
        f"| {backend}: capacity, calls/s | best number | good/s with it | good/s with auto | share | with 256 | |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    reached = True
    for phase, rate in enumerate(PHASES):
        start, end = seconds * phase + _WITHIN, seconds * (phase + 1)
        given = {name: run.rate(start, end) for name, run in runs.items()}
        share = given["auto"] / given["best"]
        reached = reached and share >= _TARGET
        verdict = "reached" if share >= _TARGET else "missed"
        rows.append(
            f"| {rate} | {best(backend, rate)} | {given['best']:.0f} | {given['auto']:.0f} | {share:.0%} "
            f"| {given['256']:.0f} | {verdict} |"
        )
    return "\n".join(rows), reached


def _file(backend: str) -> str:
    return f"auto-{backend.removeprefix('a ')}.svg"


def _charts(found: dict[str, dict[str, Measured]], seconds: float) -> dict[Path, Chart]:
    charts: dict[Path, Chart] = {}
    times = [(step + 1) * _BIN for step in range(int(seconds * len(PHASES) / _BIN))]
    for backend, runs in found.items():
        good = [
            Series(LIMITS[name], [run.rate(time - _BIN, time) for time in times], strong=name == "auto")
            for name, run in runs.items()
        ]
        limit: list[float | None] = [
            next((10.0 * value for at, value in runs["auto"].limits if at >= time), None) for time in times
        ]
        changes = " → ".join(map(str, PHASES))
        charts[PICTURES / _file(backend)] = Chart(
            f"{backend}: {changes} calls/s", "seconds since the start",
            "good results per second", times, [*good, Series("limit of auto, x 10", limit)],
            note=f"{LOAD:g} times the capacity is offered; each phase lasts {seconds:g} s",
        )  # fmt: skip
    return charts


def _write(text: str) -> None:
    before, begin, rest = PAGE.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE} must contain the lines {_BEGIN} and {_END}")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main() -> int:
    """Measure, print the tables, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each phase lasts; more than 5")
    parser.add_argument("--no-write", action="store_true", help="change no file")
    parser.add_argument("--virtual", action="store_true", help="only in virtual time, which takes some seconds")
    options = parser.parse_args()
    terms = (
        f"Latency without load {LATENCY * 1e3:g} ms, `queue_size={QUEUE_SIZE}`, a timeout of {TIMEOUT:g} s, random "
        f"arrivals at {LOAD:g} times the capacity; what is given in the first {_WITHIN:g} s of a phase of "
        f"{options.seconds:g} s does not count."
    )
    found = {
        backend: {limit: Measured(*simulated(backend, options.seconds, limit)) for limit in LIMITS}
        for backend in BACKENDS
    }
    reached = all(_table(backend, runs, options.seconds)[1] for backend, runs in found.items())
    parts = [
        terms,
        "In virtual time, the rule alone with a queue and the backend, as on a machine that is never busy:",
        *(_table(backend, runs, options.seconds)[0] for backend, runs in found.items()),
    ]
    print("\n\n".join(parts), flush=True)
    if not options.virtual:
        measured, found, good = _over_rabbitmq(options.seconds)
        parts += measured
        reached = reached and good
    if not options.no_write:
        _write("\n\n".join([*parts, *(f"![{backend}](overload/{_file(backend)})" for backend in found)]))
        draw(_charts(found, options.seconds))
    return 0 if reached else 1


def _over_rabbitmq(seconds: float) -> tuple[list[str], dict[str, dict[str, Measured]], bool]:
    """Measure a server and a client; return the text, the figures, and whether the target is reached."""
    found: dict[str, dict[str, Measured]] = {}
    parts, reached = [], True
    with broker_to_measure() as broker:
        facts = describe(broker, [US])
        for backend in BACKENDS:
            found[backend] = {limit: _run(broker.fresh_vhost(), backend, seconds, limit) for limit in LIMITS}
            table, good = _table(backend, found[backend], seconds)
            parts.append(table)
            reached = reached and good
            print(table, flush=True)
    about = ", ".join(f"{name} {value}" for name, value in facts.items() if name != "date")
    return [f"Over RabbitMQ, measured on {facts['date']}. {about}.", *parts], found, reached


if __name__ == "__main__":
    sys.exit(main())

"""Measure second copies of slow calls: ``make hedging``.

Four workers, one of which stands still for one second in every eight. One client makes calls at a fixed rate, in
turns without and with ``hedge=0.95``. The figures are written to docs/tails.md, every turn to
benchmarks/results/hedging.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks import marked
from benchmarks.brokers import broker_to_measure
from benchmarks.environments import ROOT
from benchmarks.processes import Process

if TYPE_CHECKING:
    from tools.broker import Broker

_RESULTS, _PAGE = ROOT / "benchmarks/results/hedging.json", ROOT / "docs/tails.md"
_HEDGE = 0.95
_SHARE, _LOAD = 0.4, 0.05
"""The targets: p99 with second copies at most this share of that without; and at most this share of further runs."""
_STALLS = {"handler": "its function waits, as for a backend that hangs", "process": "nothing runs in it at all"}


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1000


def _turn(workers: list[Process], caller: Process, hedge: float, rate: float, seconds: float) -> dict[str, float]:
    def runs() -> int:
        return sum(int(worker.tell("runs")["runs"]) for worker in workers)

    before = runs()
    times = caller.tell("turn", hedge=hedge, rate=rate, seconds=seconds)["times"]
    time.sleep(1.0)  # second copies that were not answered have run to their end, or were cancelled
    measured = {f"p{share * 100:g}": _quantile(times, share) for share in (0.5, 0.95, 0.99, 0.999)}
    return {**measured, "load": (runs() - before) / len(times) - 1}


def measure(broker: Broker, stall: str, turns: int, rate: float, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Return the figures of all turns, without second copies and with them."""
    found: dict[str, list[dict[str, float]]] = {"plain": [], "hedged": []}
    python = sys.executable
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Process(
                    "worker", [python, "-m", "benchmarks.hedging.worker", broker.url, stall if not number else "never"]
                )
            )
            for number in range(4)
        ]
        caller = stack.enter_context(Process("caller", [python, "-m", "benchmarks.hedging.caller", broker.url]))
        _turn(workers, caller, 0.0, rate, 2.0)
        for _ in range(turns):
            for name, hedge in (("plain", 0.0), ("hedged", _HEDGE)):
                found[name].append(_turn(workers, caller, hedge, rate, seconds))
                print(stall, name, {what: round(value, 3) for what, value in found[name][-1].items()}, file=sys.stderr)
    return found


def _median(turns: list[dict[str, float]], what: str) -> float:
    return statistics.median(turn[what] for turn in turns)


def markdown(measured: dict[str, Any], date: str, turns: int, rate: float, seconds: float) -> str:
    """Return the table, and what was reached of the targets."""
    rows = [
        "Four workers with `fetch_size=8`, whose function takes 5 ms; one of them stands still for one second in every "
        f"eight. One client makes {rate:g} calls per second, in turns of {seconds:g} s without and with `hedge=0.95`: "
        f"medians of {turns} turns each, on {date}. `make hedging` measures it again.",
        "",
        "| the worker stands still | calls | p50 | p95 | p99 | p99.9 | further runs |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    said = []
    for stall, found in measured.items():
        for name, calls in (("plain", "without"), ("hedged", "`hedge=0.95`")):
            times = " | ".join(f"{_median(found[name], what):,.0f} ms" for what in ("p50", "p95", "p99", "p99.9"))
            rows.append(f"| {_STALLS[stall]} | {calls} | {times} | {_median(found[name], 'load') * 100:.1f} % |")
        share = _median(found["hedged"], "p99") / _median(found["plain"], "p99")
        load = _median(found["hedged"], "load")
        reached = "reached" if share <= _SHARE and load <= _LOAD else "missed"
        said.append(
            f"Where {_STALLS[stall].split(',')[0]}, p99 with second copies is {share:.2f} times that without, and "
            f"{load * 100:.1f} % more calls run; the target, at most {_SHARE:g} times and {_LOAD * 100:g} %, is "
            f"{reached}."
        )
    return "\n".join([*rows, "", *said])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hedging", description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="turns without and with second copies; medians are shown")
    parser.add_argument("--seconds", type=float, default=24.0, help="length of a turn, in seconds")
    parser.add_argument("--rate", type=float, default=50.0, help="calls per second")
    parser.add_argument("--no-write", action="store_true", help="change no file; print the table to standard output")
    options = parser.parse_args()
    terms = options.turns, options.rate, options.seconds
    with broker_to_measure() as broker:
        measured = {stall: measure(broker, stall, *terms) for stall in _STALLS}
    date = time.strftime("%Y-%m-%d")
    text = markdown(measured, date, *terms)
    print(text)
    if not options.no_write:
        _RESULTS.write_text(json.dumps({"date": date, **vars(options), "turns_of": measured}, indent=1) + "\n")
        marked.write(_PAGE, "hedging", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compare RabiBridge with other libraries for synchronous callers: ``make compare-sync``, a part of ``make compare``.

Each contender has one server process and one client process, all on one RabbitMQ; they take turns. The figures are
written to docs/performance.md, every round to benchmarks/results/synchronous.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.brokers import broker_to_measure
from benchmarks.environments import ROOT
from benchmarks.synchronous import page
from benchmarks.synchronous.measure import measure
from benchmarks.synchronous.roster import CONTENDERS

if TYPE_CHECKING:
    from tools.broker import Broker

RESULTS, _PAGE = ROOT / "benchmarks/results/synchronous.json", ROOT / "docs/performance.md"


def compare(broker: Broker, *, only: list[str], threads: list[int], rounds: int, seconds: float, keep: bool) -> bool:
    """Measure, print the tables and, with ``keep``, write them; tell whether anything was measured."""
    measured = measure(broker, only, threads, rounds, seconds)
    if not measured.rounds:
        return False
    date = time.strftime("%Y-%m-%d")
    text = page.markdown(measured, date, rounds, seconds)
    print(text)
    if keep:
        known = {"date": date, "rounds": rounds, "seconds": seconds, **dataclasses.asdict(measured)}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        marked.write(_PAGE, "synchronous", text)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synchronous", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender; the tables show medians")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round, in seconds")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 16], metavar="N", help="numbers of threads")
    everybody = list(CONTENDERS)
    only = f"run only these contenders: {', '.join(everybody)}"
    parser.add_argument("--only", nargs="+", choices=everybody, default=everybody, metavar="CONTENDER", help=only)
    parser.add_argument("--no-write", action="store_true", help="change no file; print the tables to standard output")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        measured = compare(
            broker, only=options.only, threads=options.threads, rounds=options.rounds, seconds=options.seconds,
            keep=not options.no_write,
        )  # fmt: skip
    return not measured


if __name__ == "__main__":
    sys.exit(main())

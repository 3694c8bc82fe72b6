"""Compare RabiBridge over Redis with its peers: ``make compare-redis``, a part of ``make compare``.

Each contender has one server process and one client process; they take turns. Those over Redis are on one server,
which is configured as Redis is by default, and each in a database of its own. The figures are written to
docs/performance.md, every round to benchmarks/results/redis.json.
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
from benchmarks.compare.machine import describe
from benchmarks.compare.rounds import measure
from benchmarks.compare.stage import Stage
from benchmarks.compare_redis import page
from benchmarks.environments import ROOT
from benchmarks.roster import BESIDE_REDIS

if TYPE_CHECKING:
    from tools.broker import Broker

RESULTS, _PAGE = ROOT / "benchmarks/results/redis.json", ROOT / "docs/performance.md"


def compare(broker: Broker, *, only: list[str], in_flight: list[int], rounds: int, seconds: float, keep: bool) -> bool:
    """Measure, print the tables and, with ``keep``, write them; tell whether anything was measured."""
    with Stage(broker) as stage:
        measured = measure(stage, only, in_flight, rounds, seconds)
    if not measured.rounds:
        return False
    date = time.strftime("%Y-%m-%d")
    machine = describe(broker, list(measured.rounds))
    text = page.markdown(measured, machine, in_flight, date, rounds, seconds)
    print(text)
    if keep:
        known = {"date": date, "rounds": rounds, "seconds": seconds, **dataclasses.asdict(measured)}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        marked.write(_PAGE, "redis", text)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_redis", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender; the tables show medians")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round, in seconds")
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=[1, 128], metavar="N", help="numbers of calls in flight"
    )
    only = f"run only these contenders: {', '.join(BESIDE_REDIS)}"
    parser.add_argument("--only", nargs="+", choices=BESIDE_REDIS, default=BESIDE_REDIS, metavar="NAME", help=only)
    parser.add_argument("--no-write", action="store_true", help="change no file; print the tables to standard output")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        measured = compare(
            broker, only=options.only, in_flight=options.in_flight, rounds=options.rounds, seconds=options.seconds,
            keep=not options.no_write,
        )  # fmt: skip
    return not measured


if __name__ == "__main__":
    sys.exit(main())

"""Compare RabiBridge's streams with those of other libraries: ``make compare-streams``, a part of ``make compare``.

Each contender has one server process and one client process; they take turns. The figures are written to
docs/performance.md, every round to benchmarks/results/streams.json.
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
from benchmarks.compare.stage import Stage
from benchmarks.environments import ROOT
from benchmarks.streams import page
from benchmarks.streams.measure import measure
from benchmarks.streams.roster import CONTENDERS

if TYPE_CHECKING:
    from tools.broker import Broker

RESULTS, _PAGE = ROOT / "benchmarks/results/streams.json", ROOT / "docs/performance.md"


def compare(broker: Broker, *, only: list[str], rounds: int, seconds: float, keep: bool) -> bool:
    """Measure, print the tables and, with ``keep``, write them; tell whether anything was measured."""
    with Stage(broker) as stage:
        measured = measure(stage, only, rounds, seconds)
    if not any(measured.rounds.values()):
        return False
    date = time.strftime("%Y-%m-%d")
    text = page.markdown(measured, date, rounds, seconds)
    print(text)
    if keep:
        known = {"date": date, "seconds": seconds, **dataclasses.asdict(measured)}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        marked.write(_PAGE, "streams", text)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender; the tables show medians")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a stream, in seconds")
    everybody = list(CONTENDERS)
    only = f"run only these contenders: {', '.join(everybody)}"
    parser.add_argument("--only", nargs="+", choices=everybody, default=everybody, metavar="CONTENDER", help=only)
    parser.add_argument("--no-write", action="store_true", help="change no file; print the tables to standard output")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        measured = compare(
            broker, only=options.only, rounds=options.rounds, seconds=options.seconds, keep=not options.no_write
        )
    return not measured


if __name__ == "__main__":
    sys.exit(main())

"""Measure what users in requests, signatures and encryption cost: ``make compare-protection``.

It is a part of ``make compare``. The figures are written to docs/performance.md, every turn to
benchmarks/results/protection.json.
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
from benchmarks.protection import page
from benchmarks.protection.measure import measure

if TYPE_CHECKING:
    from tools.broker import Broker

RESULTS, _PAGE = ROOT / "benchmarks/results/protection.json", ROOT / "docs/performance.md"


def compare(broker: Broker, *, turns: int, keep: bool) -> None:
    """Measure, print the tables and, with ``keep``, write them."""
    measured = measure(broker.fresh_vhost(), turns)
    date = time.strftime("%Y-%m-%d")
    text = page.markdown(measured, date, turns)
    print(text)
    if keep:
        rounds = {
            str(size): {way: [dataclasses.asdict(turn) for turn in found] for way, found in ways.items()}
            for size, ways in measured.items()
        }
        RESULTS.write_text(json.dumps({"date": date, "turns": turns, "rounds": rounds}, indent=1) + "\n")
        marked.write(_PAGE, "protection", text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.protection", description=__doc__)
    parser.add_argument("--turns", type=int, default=15, help="turns of each way; the tables show medians")
    parser.add_argument("--no-write", action="store_true", help="change no file; print the tables to standard output")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        compare(broker, turns=options.turns, keep=not options.no_write)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure what traces and metrics by OpenTelemetry cost: ``make compare-tracing``.

It is a part of ``make compare``. The figures are written to docs/performance.md, every turn to
benchmarks/results/tracing.json.
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
from benchmarks.tracing.measure import CALLS, measure

if TYPE_CHECKING:
    from tools.broker import Broker

RESULTS, _PAGE = ROOT / "benchmarks/results/tracing.json", ROOT / "docs/performance.md"


def compare(broker: Broker, *, turns: int, keep: bool, calls: int = CALLS) -> None:
    """Measure, print the table and, with ``keep``, write it."""
    measured = measure(broker.fresh_vhost(), turns, calls)
    date = time.strftime("%Y-%m-%d")
    text = page.markdown({16: measured}, date, turns)
    print(text)
    if keep:
        rounds = {way: [dataclasses.asdict(turn) for turn in found] for way, found in measured.items()}
        RESULTS.write_text(json.dumps({"date": date, "turns": turns, "rounds": rounds}, indent=1) + "\n")
        marked.write(_PAGE, "tracing", text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--turns", type=int, default=15, help="turns of each way; the table shows medians")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of a turn")
    parser.add_argument("--no-write", action="store_true", help="change no file; print the table to standard output")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        compare(broker, turns=options.turns, keep=not options.no_write, calls=options.calls)
    return 0


if __name__ == "__main__":
    sys.exit(main())

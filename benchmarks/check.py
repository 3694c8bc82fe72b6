"""Checks for performance regressions: ``make bench-check``, or ``python -m benchmarks.check``.

It makes a short run of RabiBridge and aio_pika's RPC pattern. The exit status is 1 if a ratio between them is more than
a quarter below the one that ``make compare`` recorded. Ratios within one run depend less on the machine and its other
load than calls per second do. Still, this check is not part of continuous integration.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from benchmarks.brokers import broker_to_measure
from benchmarks.compare.figures import MANY, ONE, ratios
from benchmarks.compare.rounds import measure
from benchmarks.compare.stage import Stage
from benchmarks.environments import ROOT
from benchmarks.roster import BASELINE, US

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECORD = ROOT / "benchmarks/results/compare.json"
_ALLOWED_FALL = 0.25


def verdict(recorded: Mapping[str, float], measured: Mapping[str, float], allowed: float = _ALLOWED_FALL) -> list[str]:
    """Return the ratios that have fallen by more than the fraction ``allowed``, or were not measured."""
    fallen = []
    for label, before in recorded.items():
        now = measured.get(label)
        if now is None:
            fallen.append(f"{label}: recorded as {before:g} x aio_pika's, and not measured now")
        elif now < before * (1 - allowed):
            fallen.append(f"{label}: {now:g} x aio_pika's, {1 - now / before:.0%} below the {before:g} x recorded")
    return fallen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each; medians are compared")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round, in seconds")
    options = parser.parse_args()
    try:
        recorded: dict[str, float] = json.loads(_RECORD.read_text())["ratios"]
    except FileNotFoundError:
        print(f"There is no record in {_RECORD.relative_to(ROOT)}: run make compare first", file=sys.stderr)
        return 1
    with broker_to_measure() as broker, Stage(broker) as stage:
        found = ratios(measure(stage, [US, BASELINE], [ONE, MANY], options.rounds, options.seconds).rounds)
    for label, before in recorded.items():
        print(f"{label}: {found.get(label, float('nan')):g} x aio_pika's, recorded {before:g} x")
    fallen = verdict(recorded, found)
    print("\n".join(["", *fallen]) if fallen else "No ratio has fallen by more than a quarter.")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())

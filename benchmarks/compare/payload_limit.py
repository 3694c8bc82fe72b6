"""Measure how much Python can carry at most: ``python -m benchmarks.compare.payload_limit``.

Bodies of 64 KiB, by RabiBridge, by aio_pika's RPC, and by frames that are made and read at known places, in turns.
"""

from __future__ import annotations

import contextlib
import statistics
import sys

from benchmarks.brokers import broker_to_measure
from benchmarks.compare.payloads import PAYLOADS, bytes_per_second
from benchmarks.compare.rounds import Pair
from benchmarks.compare.stage import Stage
from benchmarks.roster import BASELINE, ENTRIES, US

_CONTENDERS = (US, "bare_frames", BASELINE)
_PAYLOAD = next(payload for payload in PAYLOADS if payload.label == "64 KiB")
_ROUNDS, _SECONDS = 9, 2.0


def main() -> int:
    rates: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
    with broker_to_measure() as broker, Stage(broker) as stage, contextlib.ExitStack() as stack:
        pairs = {name: stack.enter_context(Pair(name, stage)) for name in _CONTENDERS}
        for number in range(_ROUNDS + 1):
            for name in _CONTENDERS if number % 2 else reversed(_CONTENDERS):
                rate = bytes_per_second(pairs[name], _PAYLOAD, _SECONDS)
                if number:  # the first one warms up
                    rates[name].append(rate)
    theirs = statistics.median(rates[BASELINE])
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"{ENTRIES[name].title}: {median / 1e6:,.1f} MB/s, {median / theirs:.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Leak test: ``python -m benchmarks.steady``.

It makes 10,000 calls at once on one client, several times in a row, then a million calls in batches of 500. At the end,
every table of client and server must be empty, and memory must not have grown over the second half. Otherwise the exit
status is 1.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.brokers import broker_to_measure
from benchmarks.contenders.base import Service
from benchmarks.processes import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 2**20
_QUEUE_SIZE = Service.queue_size
_AT_ONCE = _QUEUE_SIZE
_AT_ONCE_ROUNDS = 5
_SAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """Rate, memory and table sizes after a number of calls."""

    calls: int
    rate: float
    resident: dict[str, int]
    left: dict[str, int]


def _sample(calls: int, rate: float, sides: dict[str, Program]) -> Sample:
    memory: dict[str, dict[str, Any]] = {name: side.tell("memory") for name, side in sides.items()}
    return Sample(
        calls,
        rate,
        {name: one["resident"] for name, one in memory.items()},
        {f"{name}: {what}": count for name, one in memory.items() for what, count in one["left"].items() if count},
    )


def run(sides: dict[str, Program], calls: int, batch: int) -> Iterator[Sample]:
    """Make the calls and yield a sample after each initial round and after each twentieth of the rest."""
    client, made = sides["client"], 0
    for _ in range(_AT_ONCE_ROUNDS):
        done = client.tell("batches", calls=_AT_ONCE, batch=_AT_ONCE)
        made += _AT_ONCE
        yield _sample(made, done["calls"] / done["seconds"], sides)
    start = made
    for part in range(1, _SAMPLES + 1):
        size = start + calls * part // _SAMPLES - made
        if size:
            done = client.tell("batches", calls=size, batch=batch)
            made += size
            yield _sample(made, size / done["seconds"], sides)


def verdict(samples: list[Sample], allowed: int) -> list[str]:
    """Return the problems: entries left at the end, and memory that grew over the second half."""
    wrong = [f"{what}: {count} left after the last call" for what, count in samples[-1].left.items()]
    late = samples[len(samples) // 2 :]
    for name, first in late[0].resident.items():
        growth = late[-1].resident[name] - first
        if growth > allowed:
            wrong.append(
                f"{name}: {growth / _MIB:.1f} MiB growth over the second half, {allowed / _MIB:g} MiB is allowed"
            )
    return wrong


def _measure(url: str, calls: int, batch: int) -> list[Sample]:
    samples = []
    with Program("serve", "ours", url) as server, Program("call", "ours", url) as client:
        print(f"{'calls':>12} {'calls/s':>10} {'client MiB':>12} {'server MiB':>12}  left in tables", flush=True)
        for sample in run({"client": client, "server": server}, calls, batch):
            resident = " ".join(f"{sample.resident[name] / _MIB:12.1f}" for name in ("client", "server"))
            left = ", ".join(f"{what} {count}" for what, count in sample.left.items()) or "nothing"
            print(f"{sample.calls:12,} {sample.rate:10,.0f} {resident}  {left}", flush=True)
            samples.append(sample)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steady", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="number of calls in batches")
    parser.add_argument("--batch", type=int, default=500, help=f"calls per batch, at most {_QUEUE_SIZE}")
    parser.add_argument("--allowed", type=float, default=4.0, help="allowed memory growth over the second half, in MiB")
    options = parser.parse_args()
    if options.calls < 0 or not 1 <= options.batch <= _QUEUE_SIZE:
        parser.error(f"--calls must not be negative, and --batch must be from 1 to {_QUEUE_SIZE}")
    with broker_to_measure() as broker:
        samples = _measure(broker.fresh_vhost(), options.calls, options.batch)
    wrong = verdict(samples, int(options.allowed * _MIB))
    print("\n".join(wrong) or "All tables are empty, and memory has not grown.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

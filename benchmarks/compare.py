"""Side by side with aio_pika's RPC pattern: ``python -m benchmarks.compare``.

One broker; for each library one server process and one client process, both on uvloop, all connected the whole time.
The rounds of the libraries take turns, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.processes import BrokerCpu, Program
from tools.broker import Broker, BrokerError, provide_broker

_ONE, _MANY = 1, 128
_WARM_UP = 1.0
_US, _BASELINE = "ours", "aio_pika_rpc"


@dataclass(frozen=True)
class Round:
    """What one library did in one round: calls/s, seconds, and CPU seconds per call."""

    rate: float
    latency: float
    client: float
    server: float
    broker: float | None


@dataclass(frozen=True)
class Pair:
    """Server and client of one library."""

    server: Program
    client: Program

    def run(self, in_flight: int, seconds: float, broker: BrokerCpu) -> Round:
        server, before = self.server.tell("cpu")["cpu"], broker.read()
        done = self.client.tell("run", in_flight=in_flight, seconds=seconds)
        after, calls = broker.read(), done["calls"]
        return Round(
            rate=calls / done["seconds"],
            latency=done["p50"],
            client=done["cpu"] / calls,
            server=(self.server.tell("cpu")["cpu"] - server) / calls,
            broker=None if before is None or after is None else (after - before) / calls,
        )


Results = dict[tuple[str, int], list[Round]]


def measure(broker: Broker, rounds: int, seconds: float) -> Results:
    """Return the rounds of each library and each number of calls in flight."""
    results: Results = defaultdict(list)
    cpu = BrokerCpu(broker)
    with contextlib.ExitStack() as stack:
        pairs = {}
        for name in (_US, _BASELINE):
            url = broker.fresh_vhost()
            server = stack.enter_context(Program("serve", name, url))
            pairs[name] = Pair(server, stack.enter_context(Program("call", name, url)))
            pairs[name].run(_MANY, _WARM_UP, cpu)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for in_flight in (_ONE, _MANY):
                for name, pair in pairs.items():
                    results[name, in_flight].append(pair.run(in_flight, seconds, cpu))
    return results


def table(results: Results) -> str:
    """Lay out the medians, with the lowest and the highest where it matters, and ratios that are above 1 if we win."""
    rows: list[tuple[str, ...]] = [("", _US, _BASELINE, "ratio")]

    def row(label: str, in_flight: int, field: str, scale: float, form: str, *, more_is_better: bool = False) -> None:
        cells, medians = [], []
        for name in (_US, _BASELINE):
            values = [getattr(one, field) for one in results[name, in_flight]]
            if None in values:
                return
            medians.append(statistics.median(values))
            low, high = min(values) * scale, max(values) * scale
            cells.append(f"{format(medians[-1] * scale, form)} ({format(low, form)} to {format(high, form)})")
        ours, theirs = medians
        ratio = (ours, theirs) if more_is_better else (theirs, ours)
        rows.append((label, *cells, f"{ratio[0] / ratio[1]:.1f}" if ratio[1] else "-"))

    row(f"calls/s, {_MANY} in flight", _MANY, "rate", 1, ",.0f", more_is_better=True)
    row("calls/s, one at a time", _ONE, "rate", 1, ",.0f", more_is_better=True)
    row("median latency, one at a time, µs", _ONE, "latency", 1e6, ",.0f")
    for who in ("client", "server", "broker"):
        row(f"CPU s per 1,000 calls, {who}", _MANY, who, 1e3, ".4f")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in rows
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each library; medians of them are shown")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round of one number of calls in flight")
    options = parser.parse_args()
    try:
        broker = provide_broker(allow_install=True, schedulers=None)
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    if broker is None:
        print("No RabbitMQ: install rabbitmq-server or Docker, or set RABIBRIDGE_TEST_URL", file=sys.stderr)
        return 1
    with broker:
        results = measure(broker, options.rounds, options.seconds)
    versions = ", ".join(f"{name} {version(name)}" for name in ("rabibridge-rabbitmq", "aio-pika", "uvloop"))
    print(f"{versions}, Python {sys.version.split()[0]}; medians of {options.rounds} rounds of {options.seconds:g} s")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

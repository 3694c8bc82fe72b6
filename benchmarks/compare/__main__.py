"""Compare RabiBridge with its peers: ``make compare``, or ``python -m benchmarks.compare``.

Each contender has one server process and one client process, all on one RabbitMQ; the contenders take turns. The
figures are written to docs/performance.md and docs/performance/, every round to benchmarks/results/compare.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.brokers import broker_to_measure
from benchmarks.compare import page, pictures
from benchmarks.compare.footprint import measure_footprint
from benchmarks.compare.machine import describe
from benchmarks.compare.payloads import measure_payloads
from benchmarks.compare.report import Report
from benchmarks.compare.rounds import measure, say
from benchmarks.compare.stage import Stage
from benchmarks.compare_redis.__main__ import compare as compare_redis
from benchmarks.environments import ROOT, UnavailableError
from benchmarks.metrics import compare as compare_metrics
from benchmarks.protection.__main__ import compare as compare_protection
from benchmarks.roster import BASELINE, BESIDE_RABBITMQ, BESIDE_REDIS, US
from benchmarks.streams.__main__ import compare as compare_streams
from benchmarks.streams.roster import CONTENDERS as STREAMS
from benchmarks.synchronous.__main__ import compare as compare_synchronous
from benchmarks.synchronous.roster import CONTENDERS as SYNCHRONOUS
from benchmarks.tracing.__main__ import compare as compare_tracing

if TYPE_CHECKING:
    from benchmarks.compare.payloads import Carried
    from tools.broker import Broker

RESULTS = ROOT / "benchmarks/results/compare.json"
_PAGE, _PICTURES = ROOT / "docs/performance.md", ROOT / "docs/performance"
_PAYLOAD_ROUNDS = 5
_IMPORTS = 15


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender; the tables show medians")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round, in seconds")
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=[1, 16, 128, 1024], metavar="N", help="numbers of calls in flight"
    )
    only = f"run only these contenders: {', '.join(BESIDE_RABBITMQ)}"
    parser.add_argument(
        "--only", nargs="+", choices=BESIDE_RABBITMQ, default=BESIDE_RABBITMQ, metavar="CONTENDER", help=only
    )
    parser.add_argument("--no-payloads", action="store_true", help="skip large arguments")
    parser.add_argument("--no-footprint", action="store_true", help="skip imports and idle clients")
    parser.add_argument("--no-synchronous", action="store_true", help="skip synchronous callers")
    parser.add_argument("--no-streams", action="store_true", help="skip streams")
    parser.add_argument("--no-protection", action="store_true", help="skip users, signatures and encryption")
    parser.add_argument("--no-redis", action="store_true", help="skip the libraries over Redis")
    parser.add_argument("--no-tracing", action="store_true", help="skip traces and metrics by OpenTelemetry")
    parser.add_argument("--no-metrics", action="store_true", help="skip metrics for Prometheus")
    parser.add_argument("--no-write", action="store_true", help="change no file; print the tables to standard output")
    return parser.parse_args()


def _run(broker: Broker, options: argparse.Namespace) -> Report:
    payloads: dict[str, dict[str, Carried]] = {}
    footprint = None
    with Stage(broker) as stage:
        measured = measure(stage, options.only, options.in_flight, options.rounds, options.seconds)
        try:
            if not options.no_payloads and {US, BASELINE} <= measured.rounds.keys():
                payloads = measure_payloads(stage, _PAYLOAD_ROUNDS, options.seconds)
            if not options.no_footprint:
                footprint = measure_footprint(broker.fresh_vhost(), _IMPORTS)
        except (RuntimeError, subprocess.SubprocessError) as error:
            say(f"The remaining parts are left out: {error}")  # keep the rounds: they took minutes
    settings = {"rounds": float(options.rounds), "seconds": options.seconds, "payload rounds": float(_PAYLOAD_ROUNDS)}
    machine = describe(broker, list(measured.rounds))
    return Report(machine, settings, options.in_flight, measured, payloads, footprint)


def main() -> int:
    options = _options()
    with broker_to_measure() as broker:
        report = _run(broker, options)
        if not options.no_synchronous:
            compare_synchronous(
                broker, only=list(SYNCHRONOUS), threads=[1, 16], rounds=options.rounds, seconds=options.seconds,
                keep=not options.no_write,
            )  # fmt: skip
        if not options.no_streams:
            compare_streams(
                broker, only=list(STREAMS), rounds=options.rounds, seconds=options.seconds, keep=not options.no_write
            )
        if not options.no_protection:
            compare_protection(broker, turns=3 * options.rounds, keep=not options.no_write)
        if not options.no_tracing:
            compare_tracing(broker, turns=3 * options.rounds, keep=not options.no_write)
        if not options.no_metrics:
            compare_metrics(broker, rounds=options.rounds, seconds=options.seconds, keep=not options.no_write)
        if not options.no_redis:
            compare_redis(
                broker, only=BESIDE_REDIS, in_flight=[1, 128], rounds=options.rounds, seconds=options.seconds,
                keep=not options.no_write,
            )  # fmt: skip
    if not report.measured.rounds:
        return 1
    if not options.no_write:
        report.save(RESULTS)
    text = page.markdown(report)
    print(text)
    if options.no_write:
        return 0
    marked.write(_PAGE, "compare", text)
    try:
        pictures.draw_all(report, _PICTURES)
    except UnavailableError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure what modest callers get beside a greedy one: ``make fairness``.

The service manages 20 calls/s. Nine callers offer 0.08 times that each, of a share of a tenth, and a tenth one 4.28
times: together five times the capacity. The table and the picture are written to docs/overload.md, the figures to
benchmarks/results/fairness.json.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks import marked
from benchmarks.brokers import broker_to_measure
from benchmarks.charts import Chart, Series, draw
from benchmarks.environments import ROOT, UnavailableError, interpreter
from benchmarks.fairness.page import LIMIT, Arrangement, figures, markdown
from benchmarks.fairness.terms import CAPACITY, GREEDY_LOAD, MODEST, MODEST_LOAD, RAMP
from benchmarks.overload.lineup import LINEUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.broker import Broker

RESULTS, PAGE = ROOT / "benchmarks/results/fairness.json", ROOT / "docs/overload.md"
PICTURE = ROOT / "docs/overload/fairness.svg"
ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "one queue": {"fetch_ahead": 2},
    "`fair=True`": {"fair": True},
}
"""The options of the service beside its sizes."""


@contextlib.contextmanager
def _side(role: str, url: str, options: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    python = interpreter(LINEUP["ours"].entry.home)
    process = subprocess.Popen(
        [python.python, "-m", "benchmarks.fairness.side", role, url, "fairness", json.dumps(options)],
        cwd=ROOT, env=python.variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _read(process)
        yield process
    finally:
        process.kill()
        process.communicate()


def _read(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the benchmark ended with status {process.wait()}")
    return json.loads(line)


def _tell(process: subprocess.Popen[str], **command: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(command) + "\n")
    process.stdin.flush()


def measure(broker: Broker, options: dict[str, Any], seconds: float) -> Arrangement:
    """Load one service, with a process for the greedy caller and one for all others."""
    url = broker.fresh_vhost()
    rates = {"modest": [MODEST_LOAD * CAPACITY] * MODEST, "greedy": [GREEDY_LOAD * CAPACITY]}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_side("serve", url, options))
        callers = [
            stack.enter_context(_side("call", url, {"rates": some, "seed": name})) for name, some in rates.items()
        ]
        for caller in callers:
            _tell(caller, seconds=seconds)
        logs = [one for caller in callers for one in _read(caller)]
        _tell(server)
        cpu = _read(server)["cpu"] / seconds
    *modest, greedy = [figures(log, seconds) for log in logs]
    return Arrangement(modest, greedy, cpu)


def picture(found: dict[str, Arrangement]) -> Chart:
    """Draw what each caller gets."""
    callers = [f"modest {number}" for number in range(1, MODEST + 1)] + ["greedy"]
    series = [
        Series(
            name.replace("`", ""), [100 * one.good / one.offered for one in (*arrangement.modest, arrangement.greedy)]
        )
        for name, arrangement in found.items()
    ]
    offered = f"{MODEST_LOAD * CAPACITY:,.0f} calls/s each, greedy {GREEDY_LOAD * CAPACITY:,.0f}"
    return Chart(
        "What each caller gets at five times the capacity", "",
        f"calls with a result in time, % (modest: {offered})", callers, series, kind="bars",
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help=f"of each load; the first {RAMP:g} do not count")
    parser.add_argument("--no-write", action="store_true", help="change no file; print the table to standard output")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        found = {name: measure(broker, service, options.seconds) for name, service in ARRANGEMENTS.items()}
    date = time.strftime("%Y-%m-%d")
    text = markdown(found, date)
    print(text)
    if not options.no_write:
        figures_of = {name: dataclasses.asdict(one) for name, one in found.items()}
        RESULTS.write_text(json.dumps({"date": date, "seconds": options.seconds, "found": figures_of}, indent=1) + "\n")
        marked.write(PAGE, "fairness", text)
        try:
            draw({PICTURE: picture(found)})
        except UnavailableError as why:
            print(f"the picture is not drawn: {why}", file=sys.stderr)
    return 0 if found["`fair=True`"].worst >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

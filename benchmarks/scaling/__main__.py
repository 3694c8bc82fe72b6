"""Measures scaling and writes the tables of docs/scaling.md: ``python -m benchmarks.scaling``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks.scaling.cluster import cluster
from benchmarks.scaling.one_node import Plan, crowds, processes, variants, ways_to_work
from benchmarks.scaling.page import RESULTS, machine, write
from tools.broker import BrokerError, PrivateCluster, PrivateNode

_PARTS = ("processes", "work", "variants", "crowds", "cluster")


def measure_all(plan: Plan, parts: list[str]) -> dict[str, Any]:
    """Measure the given parts."""
    found: dict[str, Any] = {}
    with PrivateNode(schedulers=None, plugins=["rabbitmq_consistent_hash_exchange"]) as node:
        found["machine"] = machine(node)
        if "processes" in parts:
            found["processes"] = processes(node, plan)
        if "work" in parts:
            found["work"] = ways_to_work(node, plan)
        if "variants" in parts:
            found["variants"], found["shares"] = variants(node, plan)
    if "crowds" in parts:
        with PrivateNode(schedulers=None) as node:  # a new node without connections
            found["crowds"] = crowds(node)
    if "cluster" in parts:
        with PrivateCluster(3, schedulers=None) as nodes:
            found["cluster"] = cluster(nodes, plan)
    return found


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each point; the tables show medians")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="measure only these parts")
    parser.add_argument("--no-write", action="store_true", help="print the tables and write no file")
    parser.add_argument("--no-run", action="store_true", help="render tables and plots from the recorded results")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if not options.no_run:
        try:
            measured = measure_all(Plan(options.rounds, options.seconds), options.only)
        except BrokerError as error:
            print(error, file=sys.stderr)
            return 1
        found |= measured | {"rounds": options.rounds, "seconds": options.seconds}
    write(found, to_files=not options.no_write)
    return 0


if __name__ == "__main__":
    sys.exit(main())

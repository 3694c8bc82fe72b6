"""Run a soak on a private node: ``python -m tools.soak [SECONDS] [--seed N]``."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.broker import ChaosBroker
from tools.broker import provide_node
from tools.soak.run import soak


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="repeat the faults of another run")
    options = parser.parse_args()
    node = provide_node(allow_install=True)
    if node is None:
        print("No RabbitMQ: install rabbitmq-server or Docker.", file=sys.stderr)
        return 1
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    with node, tempfile.TemporaryDirectory(prefix="rabibridge-soak-") as folder:
        tally = asyncio.run(soak(ChaosBroker(node), Path(folder), seconds=options.seconds, seed=options.seed))
    print(tally)
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())

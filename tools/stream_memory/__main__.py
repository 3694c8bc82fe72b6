"""Stream a lot on a private node: ``python -m tools.stream_memory [MEBIBYTES] [KIND ...]``."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tools.broker import provide_node
from tools.stream_memory.items import KINDS
from tools.stream_memory.measure import measure


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.stream_memory", description=__doc__)
    parser.add_argument("mebibytes", nargs="?", type=int, default=1024, help="how much for each kind (default: 1024)")
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"of {', '.join(KINDS)} (default: all)")
    options = parser.parse_args()
    node = provide_node(allow_install=True)
    if node is None:
        print("No RabbitMQ: install rabbitmq-server or Docker.", file=sys.stderr)
        return 1
    flat = True
    with node:
        for kind in options.kinds:
            measured = asyncio.run(measure(node, node.fresh_vhost(), kind, options.mebibytes * 2**20))
            print(measured, flush=True)
            flat = flat and measured.flat
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())

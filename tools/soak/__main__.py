"""Run a soak on a private node: ``python -m tools.soak [SECONDS] [--seed N]``. Its last line is the tally."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.broker import ChaosBroker
from tools.broker import provide_node
from tools.soak.run import Tally, soak


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as by Ctrl-C
    tally, why, began = Tally(), "", time.monotonic()
    try:
        _say(f"seed {options.seed}, {options.seconds:g} s")
        with node, tempfile.TemporaryDirectory(prefix="rabibridge-soak-") as folder:
            asyncio.run(
                soak(ChaosBroker(node), Path(folder), seconds=options.seconds, seed=options.seed, say=_say, tally=tally)
            )
    except KeyboardInterrupt:
        why = "interrupted in the middle of a round: "
    except Exception as error:  # noqa: BLE001 - reported: the last line is printed whatever happens
        traceback.print_exc()
        why = f"failed in the middle of a round ({type(error).__name__}): "
    _say(f"{why}{tally}, {time.monotonic() - began:.0f} s, seed {options.seed}")
    return 0 if tally.clean and not why else 1


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Run a soak on a private node: ``python -m tools.soak [SECONDS] [--seed N]``.

Before the first fault and after the last one, throughput and memory are measured for a minute or two. The last line is
the tally, with the seed and the exit status, whatever ends the soak: 0 if every promise was kept and throughput and
memory are back.
"""

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
from tools.soak.run import soak
from tools.soak.tally import Tally

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=600.0, help="of faults (default: 600)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="repeat the faults of another run")
    options = parser.parse_args()
    tally, why, began = Tally(), "", time.monotonic()
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)  # each ends it as Ctrl-C does
        _say(f"seed {options.seed}, {options.seconds:g} s")
        _run(options.seconds, options.seed, tally)
    except KeyboardInterrupt:
        why = "interrupted: "
    except BaseException as error:  # noqa: BLE001 - reported: the last line is printed whatever happens
        traceback.print_exc()
        why = f"failed ({type(error).__name__}): "
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second one must not take the last line away
    status = 0 if tally.clean and not why else 1
    _say(f"{why}{tally}, {time.monotonic() - began:.0f} s, seed {options.seed}, exit status {status}")
    return status


def _run(seconds: float, seed: int, tally: Tally) -> None:
    node = provide_node(allow_install=True)
    if node is None:
        raise RuntimeError("there is no RabbitMQ: install rabbitmq-server or Docker")
    with node, tempfile.TemporaryDirectory(prefix="rabibridge-soak-") as folder:
        asyncio.run(
            soak(ChaosBroker(node), Path(folder), seconds=seconds, seed=seed, say=_say, tally=tally, compare=True)
        )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

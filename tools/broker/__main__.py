"""Start a RabbitMQ, print its URL and keep it until Ctrl-C: ``python -m tools.broker``."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from rabibridge_testing._servers.base import GivenBroker
from tools.broker.provide import URL_VARIABLE, provide_broker, provide_node


def _missing() -> int:
    print(f"No RabbitMQ: install rabbitmq-server or Docker, or set {URL_VARIABLE}.", file=sys.stderr)
    return 1


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.broker", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install RabbitMQ with apt-get where it is missing")
    parser.add_argument("--check", action="store_true", help="only see whether one can be had; start nothing")
    parser.add_argument("--print-url", action="store_true", help="print nothing but the URL on standard output")
    options = parser.parse_args()
    if options.check:
        found = bool(os.environ.get(URL_VARIABLE)) or provide_node(allow_install=options.install) is not None
        return 0 if found else _missing()
    broker = provide_broker(allow_install=options.install)
    if broker is None:
        return _missing()
    with broker:
        print(broker.url if options.print_url else f"RabbitMQ runs at {broker.url}  (Ctrl-C stops it)", flush=True)
        if isinstance(broker, GivenBroker):
            return 0
        stop = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, stop)
        signal.sigwait(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())

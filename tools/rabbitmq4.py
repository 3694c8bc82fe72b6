"""Run tests on the newest RabbitMQ: ``python -m tools.rabbitmq4 [--suite NAME] [--strict] [tests] [pytest arguments]``.

If no tests are named, those that need a RabbitMQ run: conformance, transport and chaos. In place of tests,
``soak [SECONDS] [--seed N]`` runs `tools.soak`.

The server is the package of Debian sid, or else of testing or of Debian 13, in a folder of its own (``.debian``, 400
MB, kept for the next time), entered by chroot. That takes root on Linux; `tools.debian` says more. ``--suite trixie``
chooses Debian 13. A kept folder is not updated: ``make clean`` removes it.

``--strict`` runs a node that permits no deprecated feature and makes quorum queues by default.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from rabibridge_testing._servers.private import CONFIGURATION_VARIABLE, SERVER_VARIABLE
from tools.broker import BrokerError, PrivateNode
from tools.broker.provide import URL_VARIABLE
from tools.debian import NEWEST_SUITE, ImpossibleError, can_unshare, debian_root
from tools.ran_on import report

SUITES = (NEWEST_SUITE, "testing", "trixie")
TESTS = ("tests/conformance", "tests/rabbitmq", "tests/chaos")
_REPOSITORY = Path(__file__).parents[1]
_PACKAGE = "rabbitmq-server"

# The mounts are made in a mount namespace of the program's own: nobody else sees them, and they end with it, however it
# ends. $HOME is the folder of a PrivateNode; what lies around it is mounted, so that no folder has to be made for each.
_ENTER = """\
#!/bin/sh
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
export INSIDE="${here%/programs}" PROGRAM="$(basename -- "$0")"
exec unshare --mount --propagation private sh -euc '
    around=$(dirname -- "$HOME")
    mkdir -p -- "$INSIDE$around"
    mount -t proc proc "$INSIDE/proc"
    mount --bind /dev "$INSIDE/dev"
    mount --bind "$around" "$INSIDE$around"
    export PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
    cd /
    exec chroot "$INSIDE" "$PROGRAM" "$@"
' sh "$@"
"""


def provide_server(suite: str | None = None) -> Path:
    """Return a ``rabbitmq-server`` script of Debian's package; the folder is made if need be.

    Args:
        suite: the suite of Debian; None: the newest that can be had.

    Raises:
        ImpossibleError: this machine cannot have it.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ImpossibleError("only root on Linux can enter another system's folder; run this as root")
    if not can_unshare():
        raise ImpossibleError("no mount namespace can be made here (unshare --mount): a container has to be privileged")
    programs = _root(suite) / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("rabbitmq-server", "rabbitmqctl", "epmd"):
        program = programs / name
        if not program.exists() or program.read_text() != _ENTER:
            program.write_text(_ENTER)
            program.chmod(0o755)
    return programs / "rabbitmq-server"


def _root(suite: str | None) -> Path:
    if suite is not None:
        return debian_root(suite, _PACKAGE)
    for each in SUITES[:-1]:
        try:
            return debian_root(each, _PACKAGE)
        except ImpossibleError as error:  # a package of sid may be uninstallable for some days
            print(f"Debian {each} cannot be had: {error}", file=sys.stderr, flush=True)
    return debian_root(SUITES[-1], _PACKAGE)


def _strict_configuration(server: Path) -> str:
    with PrivateNode(server) as node:
        listing = node.ctl(
            "eval", '[io:format("~ts~n", [N]) || N <- maps:keys(rabbit_deprecated_features:list(all))], ok.'
        )
    features = sorted(listing.split())
    features.remove("ok")  # the result of the expression
    denied = [f"deprecated_features.permit.{feature} = false\n" for feature in features]
    return "default_queue_type = quorum\n" + "".join(denied)


def _say_what_runs(server: Path) -> None:
    print(f"{report()}\nThe server is that of {server.parents[1]}.", flush=True)


def _become(module: str, *arguments: str) -> NoReturn:
    """Run a program in place of this one, so that it gets the signals."""
    os.chdir(_REPOSITORY)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tools.rabbitmq4", allow_abbrev=False)
    parser.add_argument("--suite", help="the suite of Debian; the newest by default", default=None)
    parser.add_argument("--strict", action="store_true", help="no deprecated features; quorum queues by default")
    options, arguments = parser.parse_known_args()
    try:
        server = provide_server(options.suite or None)
    except ImpossibleError as error:
        print(f"No RabbitMQ 4: {error}", file=sys.stderr)
        return 1
    os.environ.pop(URL_VARIABLE, None)
    os.environ[SERVER_VARIABLE] = str(server)
    try:
        if options.strict:
            os.environ[CONFIGURATION_VARIABLE] = _strict_configuration(server)
        if arguments[:1] == ["soak"]:
            _say_what_runs(server)  # before it, for its last line is the tally
            _become("tools.soak", *arguments[1:])
        if not arguments or not (_REPOSITORY / arguments[0].partition("::")[0]).exists():
            arguments = [*TESTS, *arguments]
        status = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=_REPOSITORY).returncode
        _say_what_runs(server)
    except BrokerError as error:
        print(f"RabbitMQ does not start: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())

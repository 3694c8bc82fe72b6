"""Run tests on RabbitMQ 4: ``python -m tools.rabbitmq4 [tests] [arguments for pytest]``.

Where the first argument names no tests, those that need a RabbitMQ run: conformance, transport and chaos.

The server is Debian 13's package in a folder of its own (``.rabbitmq4``, 370 MB, made by debootstrap the first time and
kept), entered by chroot. That takes root and, the first time, a mirror of Debian: the one that apt uses here, or the
one that DEBOOTSTRAP_MIRROR names. Nothing of this machine is changed beyond that folder, except that debootstrap is
installed by apt-get where it is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.broker import BrokerError, PrivateNode
from tools.broker.private import SERVER_VARIABLE
from tools.broker.provide import URL_VARIABLE

MIRROR_VARIABLE = "DEBOOTSTRAP_MIRROR"
SUITE = "trixie"
TESTS = ("tests/conformance", "tests/rabbitmq", "tests/chaos")

_REPOSITORY = Path(__file__).parents[1]
_FOLDER = _REPOSITORY / ".rabbitmq4"
_APT = Path("/etc/apt")
_TIMEOUT = 1800.0

# The mounts are made in a mount namespace of the program's own: nobody else sees them, and they end with it, however it
# ends. $HOME is the folder of a PrivateNode; what lies around it is mounted, so that no folder has to be made for each.
_ENTER = """\
#!/bin/sh
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
export INSIDE="${here%/*}/root" PROGRAM="$(basename -- "$0")"
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


class ImpossibleError(Exception):
    """RabbitMQ 4 cannot be had on this machine; the text says why."""


def provide_server() -> Path:
    """Return the ``rabbitmq-server`` script of RabbitMQ 4, made if need be.

    Raises:
        ImpossibleError: this machine cannot have it.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ImpossibleError("only root on Linux can enter another system's folder; run this as root")
    if not _can_unshare():
        raise ImpossibleError("no mount namespace can be made here (unshare --mount): a container has to be privileged")
    if not (_FOLDER / "root").exists():
        _make_root(_FOLDER / "root")
    programs = _FOLDER / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("rabbitmq-server", "rabbitmqctl", "epmd"):
        program = programs / name
        if not program.exists() or program.read_text() != _ENTER:
            program.write_text(_ENTER)
            program.chmod(0o755)
    return programs / "rabbitmq-server"


def _can_unshare() -> bool:
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def _make_root(root: Path) -> None:
    debootstrap = _debootstrap()
    unfinished = root.with_name("unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.parent.mkdir(exist_ok=True)
    print(f"Putting Debian {SUITE} with rabbitmq-server into {unfinished.parent}, once ...", flush=True)
    # In a mount namespace of its own: what debootstrap mounts is gone with it, even if it is killed.
    command = ["unshare", "--mount", "--propagation", "private", debootstrap]
    command += ["--force-check-gpg", "--variant=minbase", "--include=rabbitmq-server", SUITE, str(unfinished), mirror()]
    log = unfinished.with_name("debootstrap.log")
    with log.open("wb") as output:
        try:
            subprocess.run(
                command,
                env=os.environ | _proxies(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=_TIMEOUT,
            )
        except subprocess.SubprocessError as error:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ImpossibleError(f"debootstrap failed ({log} has its output):\n{last}") from error
    (unfinished / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    unfinished.rename(root)


def _debootstrap() -> str:
    if found := shutil.which("debootstrap"):
        return found
    apt = shutil.which("apt-get")
    if apt is None:
        raise ImpossibleError("debootstrap is not installed, and there is no apt-get to install it")
    print("Installing debootstrap with apt-get ...", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "debootstrap"]):
        command = [apt, "-qq", *arguments]
        try:
            subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT)
        except subprocess.SubprocessError as error:
            raise ImpossibleError(f"debootstrap is not installed, and apt-get could not do it: {error}") from error
    if found := shutil.which("debootstrap"):
        return found
    raise ImpossibleError("apt-get has installed debootstrap, and yet it is not on PATH")


def mirror(apt: Path = _APT) -> str:
    """Return the mirror of Debian that DEBOOTSTRAP_MIRROR names, or else apt uses.

    Raises:
        ImpossibleError: there is none.
    """
    if given := os.environ.get(MIRROR_VARIABLE):
        return given
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file() and (found := _mirror_in(file.read_text())):
            return found
    raise ImpossibleError(f"the sources of apt name no mirror of Debian: give one in {MIRROR_VARIABLE}")


def _mirror_in(text: str) -> str | None:
    """Return the first address of Debian itself in a file of apt's sources, of either format."""
    for line in text.splitlines():
        one_line = re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(https?://\S+)", line)
        paragraph = re.match(r"URIs:.*?(https?://\S+)", line, re.IGNORECASE)
        # Debian's archive of packages is called debian on every mirror; debian-security and others are not it.
        if (match := one_line or paragraph) and match[1].rstrip("/").endswith("/debian"):
            return match[1]
    return None


def _proxies() -> dict[str, str]:
    """Return the proxies that apt goes through, as debootstrap wants them."""
    proxies: dict[str, str] = {}
    for scheme in ("http", "https"):
        command = ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
        except OSError:
            return {}  # no apt here: debootstrap goes by the environment
        match = re.fullmatch(r"PROXY='(.+)'", answer.stdout.strip())
        if match and match[1] != "DIRECT":
            proxies[f"{scheme}_proxy"] = match[1]
    return proxies


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        server = provide_server()
        with PrivateNode(server) as node:
            print(f"RabbitMQ {node.ctl('version').strip()} runs from {_FOLDER}.", flush=True)
    except (ImpossibleError, BrokerError) as error:
        print(f"No RabbitMQ 4: {error}", file=sys.stderr)
        return 1
    arguments = sys.argv[1:]
    if not arguments or not (_REPOSITORY / arguments[0].partition("::")[0]).exists():
        arguments = [*TESTS, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != URL_VARIABLE}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=_REPOSITORY, env=environment | {SERVER_VARIABLE: str(server)}).returncode


if __name__ == "__main__":
    sys.exit(main())

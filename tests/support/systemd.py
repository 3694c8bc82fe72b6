"""A systemd of a test's own: the first process of namespaces in which nothing outside can be written.

It needs root, ``unshare`` and ``nsenter``, and control groups that may be written. Units see the environment of the
tests under ``/opt/rabibridge``, since what runs under a unit may neither read home directories nor be root.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from rabibridge_testing._servers.reaper import Reaper

if TYPE_CHECKING:
    import signal
    from types import TracebackType
    from typing import Self

__all__ = ["LIBRARIES", "PYTHONPATH", "Systemd", "why_not"]

PYTHONPATH = ":".join(
    ["/opt/rabibridge/site"]
    + [
        f"/opt/rabibridge/packages/{each}/src"
        for each in (
            "rabibridge-core",
            "rabibridge-rabbitmq",
            "rabibridge-redis",
            "rabibridge-telemetry",
            "rabibridge-testing",
        )
    ]
)
"""Where units find what the environment of the tests has."""
LIBRARIES = "/opt/rabibridge/python/lib"
"""Where they find the library of an interpreter that has one."""

_ROOT = Path(__file__).parents[2]
_GROUPS = Path("/sys/fs/cgroup")
_NEEDED = "unshare", "nsenter", "systemctl"
_BOOTS = 60.0
_MASKED = (
    "dbus.service", "dbus.socket", "getty.target", "network-online.target", "systemd-journald-dev-log.socket",
    "systemd-journald.service", "systemd-journald.socket", "systemd-random-seed.service", "systemd-sysctl.service",
    "systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service",
    "systemd-udevd.service", "systemd-update-utmp.service",
)  # fmt: skip
"""Units that a machine starts with, and that have nothing to do here."""

# Everything is read-only before systemd starts; what it and its units may write is in memory, and gone with them.
_BOOT = f"""
set -e
mount --make-rprivate /
for each in /tmp /var/tmp /run /var/log /srv /mnt; do mount -t tmpfs tmpfs $each; done
mkdir /mnt/upper /mnt/work /mnt/opt /mnt/bound
mkdir -p "/mnt/bound$PYTHON" "/mnt/bound$SITE" "/mnt/bound$SOURCES"
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
mount -t tmpfs tmpfs /mnt/opt
mkdir -p /mnt/opt/rabibridge/bin /mnt/opt/rabibridge/python /mnt/opt/rabibridge/site /mnt/opt/rabibridge/packages
mount --bind "$PYTHON" /mnt/opt/rabibridge/python
mount --bind "$SITE" /mnt/opt/rabibridge/site
mount --bind "$SOURCES" /mnt/opt/rabibridge/packages
mount --rbind /mnt/opt /opt
command=/opt/rabibridge/bin/rabibridge
printf '#!/opt/rabibridge/python/bin/%s\\nfrom rabibridge.cli import main\\nmain()\\n' "$INTERPRETER" > $command
chmod 755 /mnt $command /opt /opt/rabibridge /opt/rabibridge/bin
findmnt -rno TARGET | sort -u | while read -r each; do
    case "$each" in
        /tmp|/var/tmp|/run|/var/log|/srv|/etc|/proc*|/sys*|/dev*) ;;
        *) mount -o remount,bind,ro "$each" 2> /dev/null || true ;;
    esac
done
if touch "$SOURCES/written" 2> /dev/null; then rm "$SOURCES/written"; echo "can be written"; exit 1; fi
mkdir -p /run/systemd/system /srv/rabibridge /etc/rabibridge
printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/rabibridge-tests.target
for each in {" ".join(_MASKED)}; do ln -s /dev/null "/run/systemd/system/$each"; done
exec env -i container=unshare PATH="$PATH" "$SYSTEMD" --unit=rabibridge-tests.target \\
    --log-target=console --log-level=info --show-status=no
"""


def why_not() -> str:
    """Return why there can be none here; empty: there can."""
    if sys.platform != "linux":
        return "systemd runs on Linux only"
    if os.geteuid() != 0:
        return "starting a systemd in namespaces of its own needs root"
    missing = [program for program in _NEEDED if shutil.which(program) is None]
    if missing or _binary() is None:
        return f"not installed: {', '.join(missing or ['systemd'])}"
    if not _hierarchies():
        return "the control groups cannot be written here"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--cgroup", "true"], capture_output=True, text=True
    )
    return tried.stderr.strip() if tried.returncode else ""


def _binary() -> str | None:
    return next(
        (path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if os.access(path, os.X_OK)), None
    )


def _hierarchies() -> list[Path]:
    """Return the hierarchies of control groups that systemd keeps its own groups in."""
    found = [path for path in (_GROUPS / "systemd", _GROUPS / "unified") if path.is_dir()] or [_GROUPS]
    return found if all(os.access(path, os.W_OK) and (path / "cgroup.procs").exists() for path in found) else []


class Systemd:
    """A systemd that runs while its context is open."""

    def __init__(self) -> None:
        """Prepare to start it; :func:`why_not` must have found nothing."""
        self._stack = ExitStack()
        self._pid = 0

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        group = f"rabibridge-tests-{os.getpid()}"
        groups = [path / group for path in _hierarchies()]
        for path in groups:
            path.mkdir(exist_ok=True)
            self._stack.callback(_remove, path)
        join = "".join(f"echo $$ > {shlex.quote(str(path / 'cgroup.procs'))}; " for path in groups)
        namespaces = "--mount --pid --fork --kill-child --uts --ipc --cgroup --mount-proc"
        variables = {
            "PYTHON": sys.base_prefix,
            "INTERPRETER": f"python3.{sys.version_info.minor}",
            "SITE": next(path for path in sys.path if path.endswith("site-packages")),
            "SOURCES": str(_ROOT / "packages"),
            "SYSTEMD": _binary() or "",
        }
        process = subprocess.Popen(
            ["sh", "-c", f"{join}exec unshare {namespaces} sh -c {shlex.quote(_BOOT)}"],
            env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        reaper = Reaper()
        reaper.watch_group(process.pid)
        self._stack.callback(reaper.close)
        self._stack.callback(_end, process)
        try:
            self._pid = self._first_process(process)
            self._run("systemctl", "is-system-running", "--wait", check=False, timeout=_BOOTS)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill it, with everything that it has started."""
        self._stack.close()

    @property
    def log(self) -> str:
        """What the units have written; systemd keeps it, as nothing else does here."""
        return self._run("sh", "-c", "cat /run/log/* 2> /dev/null || true").stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file that only its units see."""
        command = f"mkdir -p {shlex.quote(os.path.dirname(path))} && cat > {shlex.quote(path)} && chmod {mode:o} {path}"
        self._run("sh", "-c", command, given=text)

    def ctl(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run ``systemctl``, and return what it prints.

        Raises:
            AssertionError: it has failed.
        """
        done = self._run("systemctl", "--no-pager", *arguments, check=False, timeout=timeout)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.ctl("show", "--property", name, "--value", unit).strip()

    def kill(self, number: int, sent: signal.Signals) -> None:
        """Send a signal to a process, given as its units see it."""
        self._run("sh", "-c", f"kill -{sent.name.removeprefix('SIG')} {number}")

    def processes(self) -> list[str]:
        """Return the command lines of all processes that it has started."""
        listed = self._run(
            "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | tr '\\n' ' '; ls -d /proc/[0-9]*"
        ).stdout
        return listed.splitlines()

    def _run(
        self, *command: str, given: str | None = None, check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        entered = ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--", *command]
        return subprocess.run(entered, input=given, capture_output=True, text=True, check=check, timeout=timeout)

    def _first_process(self, process: subprocess.Popen[str]) -> int:
        """Wait until systemd has taken the place of the shell, and listens; return its process id."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        ends = monotonic() + _BOOTS
        while process.poll() is None and monotonic() < ends:
            found = children.read_text().split() if children.exists() else []
            if found and Path("/proc", found[0], "root", "run", "systemd", "private").exists():
                return int(found[0])
            sleep(0.02)
        raise AssertionError(f"systemd did not start: {_end(process)}")


def _end(process: subprocess.Popen[str]) -> str:
    process.kill()  # its child, the first process of the namespace, goes with it, and so do all others there
    return process.communicate()[0]


def _remove(group: Path) -> None:
    for each in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        each.rmdir()
    group.rmdir()

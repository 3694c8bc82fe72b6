"""Programs with workers, as processes: started, signalled, looked at, and gone after the test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_testing._servers.reaper import Reaper
from tests.support import fork_server
from tests.support.fork_server import server_of_commands
from tests.support.proc import children_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SERVICES", "Program", "Supervised", "alive", "children_of", "state_of"]

SERVICES = """
import asyncio
import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path

from rabibridge import RMQServer, register_call

VERSION = 1


@register_call(fetch_size=100)
async def pid(seconds=0.0):
    await asyncio.sleep(seconds)
    return os.getpid()


@register_call
async def version():
    return VERSION


@register_call(fetch_size=8)
async def hold(name):
    Path(f"{name}.began").touch()
    while not Path("release").exists():
        await asyncio.sleep(0.02)
    return os.getpid()


@register_call(fetch_size=8, delivery="at-most-once")
async def cling():
    Path("cling.began").touch()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@register_call(delivery="at-most-once")
async def block():
    Path("block.began").touch()
    while not Path("unblock").exists():
        time.sleep(0.02)


@register_call(delivery="at-most-once")
async def end(how):
    if how < 0:
        os.kill(os.getpid(), -how)
    os._exit(how)


@register_call
def fork():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    child.terminate()
    child.join(30)
    return child.exitcode


@register_call
async def environment():
    return sorted(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG")))


@register_call
def leave_orphan():
    script = "sleep 0.3 & echo $!"
    return int(subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout)


@register_call
async def grow(megabytes):
    global held
    held = bytearray(os.urandom(1)) * (megabytes * 2**20)


@register_call
async def cores():
    return sorted(os.sched_getaffinity(0))


@asynccontextmanager
async def lifespan(server):
    with open("lifespan.log", "a") as log:
        log.write(f"entered {os.getpid()}\\n")
    yield
    with open("lifespan.log", "a") as log:
        log.write(f"left {os.getpid()}\\n")


server = RMQServer(lifespan=lifespan)
server.load_services(globals())


def make_server():
    return server
"""


_TAKES_TERMINAL = (
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])",
)


class Program:
    """A folder with services, and the broker for it."""

    def __init__(self, folder: Path, url: str) -> None:
        """Write the services into ``folder``."""
        self.folder = folder
        self.url = url
        self._count = 0
        self._reaper = Reaper()  # nothing is left behind where this process is killed
        (folder / "services.py").write_text(SERVICES)

    @contextmanager
    def command(self, *arguments: str, **options: Any) -> Iterator[Supervised]:
        """Run ``rabibridge run`` with these arguments during a block."""
        with self.python("-m", "rabibridge", "run", *arguments, **options) as started:
            yield started

    @contextmanager
    def python(
        self,
        *arguments: str,
        prefix: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
        terminal: int | None = None,
    ) -> Iterator[Supervised]:
        """Run Python with these arguments during a block, in a session of its own; ``terminal`` controls it."""
        self._count += 1
        log = self.folder / f"log-{self._count}.txt"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RABIBRIDGE_")}
        with log.open("wb") as output:
            options: dict[str, Any] = {
                "cwd": self.folder,
                "env": kept | {"RABIBRIDGE_URL": self.url} | (variables or {}),
                "stdin": subprocess.DEVNULL if terminal is None else terminal,
                "stdout": output,
                "stderr": output,
                "start_new_session": True,
            }
            if prefix or terminal is not None or arguments[:2] != ("-m", "rabibridge"):
                takes = () if terminal is None else _TAKES_TERMINAL
                process: subprocess.Popen[Any] = subprocess.Popen(
                    [*takes, *prefix, sys.executable, *arguments], **options
                )
            else:
                process = fork_server.start(server_of_commands, arguments, **options)
        self._reaper.watch_group(process.pid)
        started = Supervised(process, log)
        try:
            yield started
        finally:
            started.close()

    def close(self) -> None:
        """Start nothing more: everything that was started has ended."""
        self._reaper.close()


class Supervised:
    """A running program with a supervisor."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    @property
    def log(self) -> str:
        """What it has logged and printed."""
        return self._log.read_text()

    @property
    def workers(self) -> set[int]:
        """The process ids of its workers."""
        return children_of(self.pid)

    async def logged(self, text: str, count: int = 1) -> Supervised:
        """Wait until it has logged something so often."""
        try:
            await _until(lambda: self.log.count(text) >= count or self._process.poll() is not None)
        except TimeoutError:
            raise AssertionError(f"{text!r} was not logged {count} times:\n{self.log}") from None
        assert self.log.count(text) >= count, self.log
        return self

    async def serves(self, workers: int) -> Supervised:
        """Wait until all workers serve for the first time."""
        return await self.logged(f"{workers} worker{'s' if workers > 1 else ''} ready")

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the supervisor alone, or to it and all workers at once."""
        if group:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        try:
            await _until(lambda: self._process.poll() is not None)
        except TimeoutError:
            raise AssertionError(f"it has not ended:\n{self.log}") from None
        return self._process.returncode

    def close(self) -> None:
        """Kill it and its workers, if they run."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


async def _until(condition: Callable[[], bool]) -> None:
    """Wait as :func:`until` does, but longer: several processes have to start one after the other."""
    async with asyncio.timeout(100):
        while not condition():  # noqa: ASYNC110 - another process does it, and gives no notice
            await asyncio.sleep(0.05)


def state_of(pid: int) -> str:
    """Return the state of a process as the kernel names it, such as ``S`` or ``Z``; empty: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not reaped by its parent does not."""
    return state_of(pid) not in ("", "Z", "X")

"""Functions that tests run in child processes, which import this module by its name."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rabibridge_core import Depends, current_call, register_call
from rabibridge_core.errors import ServiceError
from rabibridge_core.rpc import RpcClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

log = logging.getLogger("tests.process_functions")
places: list[str] = []


class OutOfPaper(ServiceError, code="tests.out_of_paper"):
    tray: int

    def __str__(self) -> str:
        return f"no paper in tray {self.tray}"


class Awkward(Exception):
    """An exception that pickle cannot make again."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@dataclass
class Point:
    x: int
    y: int


class Tools:
    @staticmethod
    def static(number: int) -> int:
        return number + 1

    @classmethod
    def of_class(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    def bound(self) -> None:
        """Not to be served in a child process."""


def square(number: int) -> int:
    return number * number


def pid() -> int:
    return os.getpid()


def user() -> str:
    return current_call().user


async def slept(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


def echo(value: Any) -> Any:
    return value


def add_up(point: Point, *, factor: int = 1) -> int:
    return (point.x + point.y) * factor


def end(how: str) -> None:
    if how == "exit":
        os._exit(7)
    if how == "exit 0":
        os._exit(0)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "lambda":
        return lambda: None  # type: ignore[return-value]
    if how == "awkward":
        raise Awkward(1, 2)
    if how == "SystemExit":
        sys.exit(3)
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "StopIteration":
        raise StopIteration
    if how == "declared":
        raise OutOfPaper(tray=3)
    os.kill(os.getpid(), int(how))


def note_and_wait(file: str, seconds: float) -> int:
    """Write the process id to a file, and compute for so long."""
    Path(file).write_text(str(os.getpid()))
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass
    return os.getpid()


def wait_for(go: str, noted_in: str = "") -> int:
    """Write the process id to a file, if one is named, and wait until there is the file ``go``."""
    if noted_in:
        Path(noted_in).write_text(str(os.getpid()))
    while not Path(go).exists():
        time.sleep(0.02)
    return os.getpid()


def large_result(size: int, go: str = "", noted_in: str = "") -> bytes:
    """Return so many bytes, once there is the file ``go``, if one is named."""
    if go:
        wait_for(go, noted_in)
    return bytes(size)


def hold_the_interpreter(file: str, seconds: float) -> None:
    """Write the process id to a file, and stay in native code that lets no other thread run."""
    Path(file).write_text(str(os.getpid()))
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


def with_children(folder: str) -> None:
    """Start a program and a process of multiprocessing, note who they are, and wait for long."""
    program = subprocess.Popen(["sleep", "600"])
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    Path(folder, "pids").write_text(f"{os.getpid()} {program.pid} {process.pid}")
    time.sleep(600)


def pooled(numbers: list[int]) -> list[int]:
    """Use multiprocessing in a child process, with each way to start."""
    found = []
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            found += pool.map(square, numbers)
    return found


def described() -> dict[str, Any]:
    call = current_call()
    return {
        "id": call.id, "service": call.service, "left": call.time_left, "attempt": call.attempt,
        "header": call.headers.get("tenant"), "cancelled": call.cancelled, "main": threading.current_thread().name,
    }  # fmt: skip


def reports(count: int) -> int:
    for number in range(count):
        current_call().progress(number / count, f"step {number}")
        time.sleep(0.1)
    return count


def logs(text: str) -> None:
    log.info("at INFO: %s", text)
    log.debug("at DEBUG: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("in a child")


def provided_once() -> Iterator[str]:
    places.append("made")
    yield f"made in {os.getpid()}"
    Path(os.environ["PROCESS_TEST_NOTE"]).write_text("cleaned up")


async def provided_for_a_call() -> AsyncIterator[str]:
    yield f"for a call in {os.getpid()}"


def with_providers(
    number: int,
    once: Annotated[str, Depends(provided_once, scope="process")],
    each: Annotated[str, Depends(provided_for_a_call)],
) -> list[Any]:
    return [number, once, each, os.getpid(), len(places)]


def initialised() -> Iterator[str]:
    """Start as the file that ``PROCESS_TEST_MODE`` names says: at once, never, or with an error."""
    mode = Path(os.environ["PROCESS_TEST_MODE"])
    while mode.read_text() not in ("fast", "broken"):
        time.sleep(0.02)
    if mode.read_text() == "broken":
        raise LookupError("the licence server is away")
    yield "initialised"


def with_initialiser(state: Annotated[str, Depends(initialised, scope="process")]) -> list[Any]:
    return [state, os.getpid()]


def wants_lifespan(number: int, point: Annotated[Point, Depends()]) -> int:
    return number + point.x


def decorated(func: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return func(*args)

    wrapper.__qualname__, wrapper.__module__ = func.__qualname__, func.__module__
    return wrapper


hidden = decorated(square)


@register_call(executor="process", fetch_size=1, name="marked")
def marked_function(number: int) -> int:
    return number


if __name__ == "__main__":
    raise SystemExit("a child process must not run this module as a program")


def logs_its_call() -> str:
    log.warning("in a child", extra={"order": 7, "odd": {1}})
    return current_call().id


def compute_until(folder: str) -> str:
    """Compute in Python until a file is there."""
    (Path(folder) / "began").touch()
    while not (Path(folder) / "go").exists():
        sum(range(1000))
    return "done"


async def wait_until(folder: str) -> str:
    """Wait until a file is there."""
    (Path(folder) / "began").touch()
    while not (Path(folder) / "go").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    return "done"


def busy_in_c(folder: str) -> str:
    """Compute in a library, which no signal interrupts, for ever."""
    (Path(folder) / "began").touch()
    return hashlib.pbkdf2_hmac("sha256", b"x", b"x", 2**31 - 1).hex()


async def ask_again(url: str) -> Any:
    """Make a call from the child process."""
    async with RpcClient(url=url) as client:
        return await client.call("square", 3)


async def call_itself(name: str, left: int) -> int:
    """Call the service ``name``, which is this function, over the broker of the environment."""
    from rabibridge import RMQClient

    if not left:
        return 0
    async with RMQClient() as client:
        return 1 + int(await client.options(timeout=600).remote_call(name, (name, left - 1)))

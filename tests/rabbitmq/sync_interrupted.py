"""A program whose streams and uploads are interrupted, one after the other, each in another way.

It stops itself when the exception is raised, so that nothing can be sent later, and goes on at SIGCONT. A line of input
says that the function runs. The environment gives RABIBRIDGE_URL, and STREAM, UPLOAD and BOTH, the names of services.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from rabibridge.sync import Client
from rabibridge_core._hosting import loop_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

_PATIENCE = 90.0


class Interruption(Exception):
    """What another thread raises here, as SoftTimeLimitExceeded of a job queue."""


def exit_at(number: int, frame: object) -> None:
    sys.exit(3)


def interrupt_when_it_waits(how: str) -> None:
    """Interrupt the main thread while it waits for the loop, once the function runs."""
    main = threading.main_thread().ident or 0
    sys.stdin.readline()
    while sys._current_frames()[main].f_globals["__name__"] != loop_thread.__name__:
        time.sleep(0.01)
    if how == "exception":
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(Interruption))
    else:
        signal.pthread_kill(main, signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)


def numbers() -> Iterator[int]:
    yield from range(10)


def items(client: Any, name: str) -> Generator[Any]:
    yield from client.stream(name)


def close_a_generator(client: Any) -> None:
    reading = items(client, os.environ["STREAM"])
    next(reading)
    sys.stdin.readline()
    reading.close()


def main() -> None:
    signal.signal(signal.SIGTERM, exit_at)
    client = Client()
    view = client.options(timeout=_PATIENCE)
    reporting = view.options(on_progress=lambda _: None)
    stream, upload, both = os.environ["STREAM"], os.environ["UPLOAD"], os.environ["BOTH"]
    works: list[Callable[[], Any]] = [
        lambda: list(view.stream(stream)),
        lambda: view.call(upload, numbers()),
        lambda: list(view.stream(both, numbers())),
        lambda: list(reporting.stream(stream)),
        lambda: reporting.call(upload, numbers()),
    ]
    for work in works:
        for how in ("Ctrl-C", "exit", "exception"):
            threading.Thread(target=interrupt_when_it_waits, args=(how,)).start()
            try:
                work()
            except (KeyboardInterrupt, SystemExit, Interruption):
                os.kill(os.getpid(), signal.SIGSTOP)
    close_a_generator(view)
    sys.stdin.readline()
    os._exit(7 if client.pending == 0 else 8)


if __name__ == "__main__":
    main()

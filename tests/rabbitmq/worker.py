"""A server process for tests: it says what it does on standard output and waits for a line of input where told to.

The environment gives RABIBRIDGE_URL, and WORKER_NAME, which its services' names end with.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

from rabibridge import RMQServer, register_call

_name = os.environ["WORKER_NAME"]
_released = asyncio.Event()


@register_call(fetch_size=4)
async def work(number: int) -> list[int]:
    """Return the number and the process that worked on it, once released."""
    print(f"started {number}", flush=True)
    await _released.wait()
    return [number, os.getpid()]


@register_call(fetch_size=4)
def work_in_a_thread(number: int) -> list[int]:
    """Return the number and the process that worked on it, after a line of input where the number is negative."""
    print(f"started {number}", flush=True)
    if number < 0:
        _input.wait()
    return [number, os.getpid()]


@register_call(fetch_size=4, redelivery_limit=2)
async def die() -> None:
    """Take the worker along, at once."""
    os._exit(7)


@register_call(fetch_size=16, rate="80/s")
async def limited() -> float:
    """Return when it was started, by a clock that all processes share."""
    return time.monotonic()


_input = threading.Event()


def _read(loop: asyncio.AbstractEventLoop) -> None:
    sys.stdin.readline()
    _input.set()
    loop.call_soon_threadsafe(_released.set)


async def main() -> None:
    threading.Thread(target=_read, args=(asyncio.get_running_loop(),), daemon=True).start()
    server = RMQServer()
    for function in (work, work_in_a_thread, die, limited):
        function.__name__ += "_" + _name
    server.load_services(globals())
    async with server:
        print("ready", flush=True)
        await server.run_serve()
    print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(main())

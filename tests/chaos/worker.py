"""A worker process of the chaos tests.

The environment gives RABIBRIDGE_URL; CHAOS_RUNS, the file in which every run is noted; CHAOS_SERVICES, the services to
offer. It prints one line of JSON when it serves, and another for every line of its input: how it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from rabibridge import ConfigurationError, RMQServer, current_call, register_call
from tests.chaos.runs import RunWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_MANY = 1000
"""A ``redelivery_limit`` for services that do nothing wrong: these tests take a call from its worker time and again."""
_runs = RunWriter(os.environ["CHAOS_RUNS"])


class OddError(BaseException):
    """What a handler should not raise."""


@register_call(redelivery_limit=_MANY)
async def echo(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        return [call_id, nonce]


@register_call(fetch_size=60, redelivery_limit=_MANY)
async def work(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(fetch_size=40, delivery="at-most-once")
async def once(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(fetch_size=40, idempotent=True, redelivery_limit=_MANY)
async def safe(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(queue_size=20, fetch_size=4, redelivery_limit=_MANY)
async def narrow(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(queue_size=20, fetch_size=4, delivery="at-most-once")
async def narrow_once(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(queue_size=5, fetch_size=2, redelivery_limit=_MANY)
async def tight(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(queue_size=5, fetch_size=2, delivery="at-most-once")
async def tight_once(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        await asyncio.sleep(seconds)
        return [call_id, nonce]


@register_call(fetch_size=16, redelivery_limit=_MANY)
def thread(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        time.sleep(seconds)
        return [call_id, nonce]


@register_call
async def never(call_id: int, nonce: str, seconds: float) -> None:
    with _runs.run(call_id):
        await asyncio.Event().wait()


@register_call(fetch_size=1)
async def block(call_id: int, nonce: str, seconds: float) -> list[Any]:
    with _runs.run(call_id):
        if not current_call().redelivered:  # or it would block one worker after the other
            time.sleep(seconds)  # noqa: ASYNC251 - that is the fault
        return [call_id, nonce]


@register_call(fetch_size=4)
async def leave(call_id: int, nonce: str, seconds: float) -> None:
    with _runs.run(call_id):
        raise SystemExit(3)


@register_call(fetch_size=4)
def leave_thread(call_id: int, nonce: str, seconds: float) -> None:
    with _runs.run(call_id):
        raise SystemExit(3)


@register_call(fetch_size=4)
async def interrupt(call_id: int, nonce: str, seconds: float) -> None:
    with _runs.run(call_id):
        raise KeyboardInterrupt


@register_call(fetch_size=4)
async def odd(call_id: int, nonce: str, seconds: float) -> None:
    with _runs.run(call_id):
        raise OddError("odd")


@register_call(fetch_size=1, redelivery_limit=2)
async def die(call_id: int, nonce: str, seconds: float) -> None:
    with _runs.run(call_id):
        os._exit(9)


@register_call(redelivery_limit=_MANY)
async def stream(call_id: int, count: int, pause: float) -> AsyncIterator[list[int]]:
    """Give ``count`` items; after every tenth it waits ``pause`` seconds."""
    with _runs.run(call_id):
        for number in range(count):
            yield [number, os.getpid()]
            if number % 10 == 9:
                await asyncio.sleep(pause)


@register_call(resumable=True, redelivery_limit=_MANY)
async def resumable(call_id: int, count: int, pause: float, start_at: int) -> AsyncIterator[list[int]]:
    """Give the items from ``start_at`` to ``count``."""
    with _runs.run(call_id):
        for number in range(start_at, count):
            yield [number, os.getpid()]
            if number % 10 == 9:
                await asyncio.sleep(pause)


@register_call(redelivery_limit=_MANY)
async def bulk(call_id: int, count: int, size: int) -> AsyncIterator[list[Any]]:
    """Give ``count`` items of so many bytes, as fast as they are taken."""
    data = os.urandom(size)
    with _runs.run(call_id):
        for number in range(count):
            yield [number, data]


@register_call(redelivery_limit=_MANY)
async def swell(call_id: int, count: int) -> AsyncIterator[list[Any]]:
    """Give small items, and after many of them one that is larger than any before."""
    with _runs.run(call_id):
        for number in range(count):
            yield [number, bytes(100 if number % 50 else 100 + 1500 * number)]


@register_call(redelivery_limit=_MANY)
async def store(call_id: int, items: AsyncIterator[int]) -> list[int]:
    """Check that the items count from 0, and return how many came, and to which process."""
    with _runs.run(call_id):
        count = 0
        async for item in items:
            if item != count:
                raise ValueError(f"item {item} after {count} items")
            count += 1
        return [count, os.getpid()]


@register_call(redelivery_limit=_MANY)
async def converse(call_id: int, items: AsyncIterator[int]) -> AsyncIterator[list[int]]:
    """Answer each item."""
    with _runs.run(call_id):
        async for item in items:
            yield [item, os.getpid()]


_SERVICES: dict[str, Callable[..., Any]] = {
    service.__name__: service
    for service in (
        echo, work, once, safe, thread, never, block, leave, leave_thread, interrupt, odd, die, stream, resumable,
        bulk, swell, store, converse, narrow, narrow_once, tight, tight_once,
    )
}  # fmt: skip


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _state(server: RMQServer) -> None:
    if not sys.stdin.readline():
        return
    health = server.health()
    _say(
        ok=health.ok,
        state=health.state.value,
        reasons=health.reasons,
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        rss=_resident(),
    )


def _resident() -> int:
    """Return how much memory this process has, in bytes."""
    with open("/proc/self/statm") as figures:
        return int(figures.read().split()[1]) * resource.getpagesize()


async def main() -> int:
    server = RMQServer()
    server.load_services({name: _SERVICES[name] for name in os.environ["CHAOS_SERVICES"].split(",")})
    try:
        async with server:
            serving = asyncio.create_task(server.run_serve())
            asyncio.get_running_loop().add_reader(sys.stdin, _state, server)
            _say(ready=os.getpid())
            await serving
    except ConfigurationError as error:
        _say(failed=str(error))
        return 2
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.exit(asyncio.run(main()))

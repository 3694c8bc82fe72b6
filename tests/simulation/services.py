"""The services of a simulation. Each tells the checker when it begins, what comes to it, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003 - services are registered by their annotations
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge_core import auto, current_call, register_call
from tests.simulation.nodes import NODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.checker import Run

__all__ = ["RUN_TIMEOUT", "SERVICES", "UNSERVED", "Service", "answer", "item"]


UNSERVED = "unserved"
"""The name of the service that no worker has."""
RUN_TIMEOUT = 0.5
"""How long calls of ``hurried`` may run, in seconds."""


class Service(NamedTuple):
    """What the checker knows about a service.

    Attributes:
        function: the function.
        runs: how many calls one worker may run at a time.
        at_most_once: whether a call must never run twice.
        bounded: whether its queue is bounded.
        idempotent: whether calls are sent again without being asked.
    """

    function: Any
    runs: int
    at_most_once: bool = False
    bounded: bool = False
    idempotent: bool = False


def answer(number: int) -> int:
    """Return the result of call ``number``."""
    return number * 2 + 1


def item(number: int, index: int) -> int:
    """Return one item of the stream of call ``number``."""
    return number * 1000 + index


@contextmanager
def _run(service: str, number: int) -> Iterator[Run]:
    node = NODE.get()
    assert node is not None
    checker = node.world.checker
    run = checker.began(node, service, number)
    try:
        yield run
    except BaseException as error:
        checker.ended(run, type(error).__name__)
        raise
    checker.ended(run, "done")


async def _work(service: str, number: int, seconds: float, how: str) -> int:
    with _run(service, number):
        return await _ends(number, seconds, how)


async def _ends(number: int, seconds: float, how: str) -> int:
    if how == "raise":
        await asyncio.sleep(seconds)
        raise ValueError(f"call {number}")
    if how == "cancel":
        await asyncio.sleep(seconds)
        raise asyncio.CancelledError
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if how == "stubborn":
            await asyncio.sleep(0.2)
        if how == "deaf":
            await asyncio.sleep(min(seconds, 2.0))  # less than a worker that stops waits for it
            return answer(number)
        raise
    return answer(number)


@register_call
async def unserved(number: int, seconds: float, how: str) -> int:
    return await _work("unserved", number, seconds, how)


@register_call(fetch_size=2)
async def plain(number: int, seconds: float, how: str) -> int:
    return await _work("plain", number, seconds, how)


@register_call(fetch_size=8)
async def wide(number: int, seconds: float, how: str) -> int:
    return await _work("wide", number, seconds, how)


@register_call(fetch_size=2, queue_size=2)
async def bounded(number: int, seconds: float, how: str) -> int:
    return await _work("bounded", number, seconds, how)


@register_call(fetch_size=2, delivery="at-most-once")
async def once(number: int, seconds: float, how: str) -> int:
    return await _work("once", number, seconds, how)


@register_call(fetch_size=2, idempotent=True)
async def again(number: int, seconds: float, how: str) -> int:
    return await _work("again", number, seconds, how)


@register_call(fetch_size=2, fetch_ahead=1, queue_type="quorum")
async def ahead(number: int, seconds: float, how: str) -> int:
    return await _work("ahead", number, seconds, how)


@register_call(fetch_size=2, classes={"high": 2, "low": 2})
async def classed(number: int, seconds: float, how: str) -> int:
    return await _work("classed", number, seconds, how)


@register_call(fetch_size=2)
async def reporting(number: int, seconds: float, how: str) -> int:
    with _run("reporting", number):
        for step in range(3):
            current_call().progress((step + 1) / 4, str(number))
            await asyncio.sleep(seconds / 3)
        return await _ends(number, 0.0, how)


@register_call(fetch_size=auto(1, 4))
async def adapting(number: int, seconds: float, how: str) -> int:
    return await _work("adapting", number, seconds, how)


@register_call(fetch_size=2, run_timeout=RUN_TIMEOUT)
async def hurried(number: int, seconds: float, how: str) -> int:
    return await _work("hurried", number, seconds, how)


@register_call(fetch_size=2, idempotent=True)
async def hedged(number: int, seconds: float, how: str) -> int:
    return await _work("hedged", number, seconds, how)


@register_call(fetch_size=2)
def threaded(number: int, seconds: float, how: str) -> int:
    with _run("threaded", number):
        if how == "raise":
            raise ValueError(f"call {number}")
        return answer(number)


@register_call(fetch_size=2)
async def told(number: int, seconds: float, how: str) -> int:
    return await _work("told", number, seconds, how)


@register_call(fetch_size=2)
async def everywhere(number: int, seconds: float, how: str) -> int:
    return await _work("everywhere", number, seconds, how)


@register_call(fetch_size=2)
async def items(number: int, count: int, seconds: float, how: str) -> AsyncIterator[int]:
    with _run("items", number) as run:
        for index in range(count):
            await asyncio.sleep(seconds)
            run.sent = index + 1
            yield item(number, index)
        if how == "raise":
            raise ValueError(f"call {number}")


@register_call(fetch_size=2, resumable=True)
async def resumed(number: int, count: int, seconds: float, how: str, start_at: int = 0) -> AsyncIterator[int]:
    with _run("resumed", number) as run:
        for index in range(start_at, count):
            await asyncio.sleep(seconds)
            run.sent = index + 1 - start_at
            yield item(number, index)
        if how == "raise":
            raise ValueError(f"call {number}")


@register_call(fetch_size=2)
async def collected(number: int, given: AsyncIterator[int], seconds: float, how: str) -> int:
    with _run("collected", number) as run:
        async for one in given:
            run.got.append(one)
            await asyncio.sleep(seconds)
        if how == "raise":
            raise ValueError(f"call {number}")
        return sum(run.got)


SERVICES: dict[str, Service] = {
    "plain": Service(plain, 2),
    "bounded": Service(bounded, 2, bounded=True),
    "once": Service(once, 2, at_most_once=True),
    "again": Service(again, 2, idempotent=True),
    "ahead": Service(ahead, 2),
    "classed": Service(classed, 2, bounded=True),
    "reporting": Service(reporting, 2),
    "adapting": Service(adapting, 4),
    "hurried": Service(hurried, 2),
    "hedged": Service(hedged, 2, idempotent=True),
    "threaded": Service(threaded, 2),
    "told": Service(told, 2),
    "everywhere": Service(everywhere, 3),
    "items": Service(items, 2),
    "resumed": Service(resumed, 2),
    "collected": Service(collected, 2),
    "wide": Service(wide, 8),
    UNSERVED: Service(unserved, 0),
}

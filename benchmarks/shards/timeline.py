"""Calls over three brokers while things happen to them, counted in steps of time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rabibridge import RabiBridgeError, ShardedClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["STEP", "Event", "Timeline", "run"]

STEP = 0.25
"""Length of a step, in seconds."""
_CALLERS = 48
_TIMEOUT = 5.0


@dataclass(frozen=True)
class Event:
    """Something that happens to a broker."""

    at: float
    """When, in seconds after the beginning."""
    what: str
    act: Callable[[], None]


@dataclass
class Timeline:
    """What became of the calls."""

    done: dict[str, Counter[int]] = field(default_factory=dict)
    """For each broker, how many calls had a result in each step."""
    errors: dict[str, Counter[str]] = field(default_factory=dict)
    """For calls that may run twice, and for others: how many ended with each error."""
    slowest: dict[str, float] = field(default_factory=dict)
    """For both: the longest time to a result, in seconds."""
    calls: Counter[str] = field(default_factory=Counter)
    """For both: how many there were."""
    happened: list[tuple[float, str]] = field(default_factory=list)


async def run(urls: Mapping[str, str], events: Sequence[Event], seconds: float) -> Timeline:
    """Call as fast as results come, for so many seconds.

    Half of the calls are idempotent. Each has 5 seconds.
    """
    found = Timeline({name: Counter() for name in urls})
    loop = asyncio.get_running_loop()

    async def caller(number: int, client: ShardedClient) -> None:
        idempotent = number % 2 == 0
        kind = "idempotent" if idempotent else "others"
        errors = found.errors.setdefault(kind, Counter())
        view = client.options(timeout=_TIMEOUT, idempotent=idempotent)
        while (now := loop.time()) < ends:
            found.calls[kind] += 1
            try:
                where = await view.call("where")
            except RabiBridgeError as error:
                errors[type(error).__name__] += 1
            else:
                took = loop.time() - now
                found.slowest[kind] = max(found.slowest.get(kind, 0.0), took)
                found.done[where][int((loop.time() - began) / STEP)] += 1

    async with ShardedClient(dict(urls)) as client:
        began = loop.time()
        ends = began + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(_CALLERS):
                group.create_task(caller(number, client))
            for event in events:
                await asyncio.sleep(began + event.at - loop.time())
                found.happened.append((loop.time() - began, event.what))
                await asyncio.to_thread(event.act)
    return found

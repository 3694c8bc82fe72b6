"""Calls of every shape between one client and one server, to see what the permissions of both allow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge import NoRouteError, RMQServer, current_call
from tests.support.broadcasts import all_results
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rabibridge import RMQClient

ITEMS = 300
"""More than a worker sends, or a caller, before it needs credit from the other."""


class Offered(NamedTuple):
    """The services of one server, whose names end alike, and what their functions were told."""

    end: str
    cancelled: asyncio.Event
    notes: asyncio.Queue[Any]

    @property
    def names(self) -> list[str]:
        """The names of the services."""
        return [f"{name}_{self.end}" for name in ("value", "blocking", "hangs", "note", "items", "total")]


def offer(server: RMQServer, end: str) -> Offered:
    """Add one service for each shape to a server that is not connected yet."""
    offered = Offered(end, asyncio.Event(), asyncio.Queue())

    async def value(given: Any) -> Any:
        return given

    def blocking(given: Any) -> Any:
        return given

    async def hangs() -> None:
        current_call().progress(0.5)
        try:
            await asyncio.Event().wait()
        finally:
            offered.cancelled.set()

    async def note(given: Any) -> None:
        offered.notes.put_nowait(given)

    async def items(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    functions: list[Callable[..., Any]] = [value, blocking, hangs, note, items, total]
    for function, name in zip(functions, offered.names, strict=True):
        server.add_service(function, name=name)
    return offered


async def every_shape(client: RMQClient, offered: Offered, *, introspection: bool = True) -> None:
    """Make a call of each shape, and check what it brings."""
    value, blocking, hangs, note, items, total = offered.names
    patient = client.options(timeout=PATIENCE)
    assert await soon(patient.call(value, 1)) == 1
    assert await soon(client.remote_call(value, (2,), ftype="any", timeout=PATIENCE)) == 2
    assert await soon(client.remote_call(blocking, (3,), ftype="sync", timeout=PATIENCE)) == 3

    reports: asyncio.Queue[Any] = asyncio.Queue()
    call = asyncio.ensure_future(client.options(timeout=PATIENCE, on_progress=reports.put_nowait).call(hangs))
    assert (await soon(reports.get())).fraction == 0.5
    offered.cancelled.clear()
    call.cancel()
    await soon(offered.cancelled.wait())

    await soon(patient.notify(note, "noted"))
    assert await soon(offered.notes.get()) == "noted"
    assert list((await soon(all_results(patient.broadcast(value, 6)))).values()) == [6]

    async def read() -> list[Any]:
        return [item async for item in patient.stream(items, ITEMS)]

    async def numbers() -> AsyncIterator[int]:
        for number in range(ITEMS):
            yield number

    assert await soon(read()) == list(range(ITEMS))
    assert await soon(patient.call(total, numbers())) == sum(range(ITEMS))
    if introspection:
        assert len(await soon(client.ping(timeout=PATIENCE))) == 1
        names = {service.name for service in await soon(client.services(timeout=PATIENCE))}
        assert set(offered.names) <= names


async def no_route(client: RMQClient, name: str) -> bool:
    """Tell whether a service is unknown to a client."""
    try:
        await soon(client.remote_call(name, (0,), timeout=PATIENCE))
    except NoRouteError:
        return True
    return False

"""How many workers a service has: looks that are shared, and queues that do not exist."""

from __future__ import annotations

import asyncio

from rabibridge_core._client.consumer_counts import ConsumerCounts
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core.errors import ConnectionLostError
from tests.support.waiting import soon
from tests.unit.client_support import turns
from tests.unit.scripted_transport import ScriptedTransport


class _Queues(ScriptedTransport):
    """A broker with some queues; it answers once :attr:`looking` is set."""

    def __init__(self, **queues: int) -> None:
        super().__init__()
        self.queues = queues

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        self.looked.append(queue)
        await self.looking.wait()
        consumers = self.queues.get(queue)
        return None if consumers is None else (consumers, 0)


async def test_all_who_ask_during_a_look_share_the_next_one() -> None:
    transport, counts = _Queues(rpc_async_add=2), ConsumerCounts(TaskSet())
    transport.looking.clear()
    first = counts.count("add", "async_add", transport)
    await turns()
    others = [counts.count("add", "async_add", transport) for _ in range(50)]
    await turns()
    assert transport.looked == ["rpc_async_add"]
    transport.queues["rpc_async_add"] = 3  # the first look may have missed it; those that begin later must not
    transport.looking.set()
    await soon(asyncio.gather(first, *others))
    assert {other.result() for other in others} == {3}
    assert transport.looked == ["rpc_async_add"] * 2
    assert await soon(counts.count("add", "async_add", transport)) == 3


async def test_both_kinds_count_and_a_missing_queue_is_not_looked_for_each_time() -> None:
    transport, counts = _Queues(rpc_async_add=2), ConsumerCounts(TaskSet())
    for _ in range(3):
        assert await soon(counts.count("add", "any:add", transport)) == 2
    assert transport.looked == ["rpc_async_add", "rpc_sync_add", "rpc_async_add", "rpc_async_add"]
    both = _Queues(rpc_async_add=2, rpc_sync_add=1)
    assert await soon(ConsumerCounts(TaskSet()).count("add", "any:add", both)) == 3


async def test_a_service_that_did_not_exist_is_found_as_soon_as_it_does() -> None:
    transport, counts = _Queues(), ConsumerCounts(TaskSet())
    assert await soon(counts.count("add", "any:add", transport)) is None
    transport.queues["rpc_sync_add"] = 0
    assert await soon(counts.count("add", "any:add", transport)) == 0


async def test_a_failed_look_says_nothing() -> None:
    class Lost(_Queues):
        async def look(self, queue: str, /) -> tuple[int, int] | None:
            raise ConnectionLostError("lost")

    assert await soon(ConsumerCounts(TaskSet()).count("add", "any:add", Lost())) is None

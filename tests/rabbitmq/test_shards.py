"""One client over three independent brokers, one of which is killed and comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConnectionLostError, RMQServer, ShardedClient
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tools.broker import Broker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

_CALLS = 300


class Load:
    """Calls that go on, each with its outcome."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.wrong: list[BaseException] = []
        self.stop = False

    async def run(self, calls: ShardedClient, callers: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(self._caller(calls, number))

    async def _caller(self, calls: ShardedClient, number: int) -> None:
        idempotent = number % 2 == 0
        view = calls.options(timeout=120, idempotent=idempotent)
        while not self.stop:
            try:
                self.ends[await view.call("place")] += 1
            except ConnectionLostError as error:
                self.ends["lost"] += 1
                if idempotent or error.executed is not None:
                    self.wrong.append(error)
            except BaseException as error:  # noqa: BLE001 - each is an outcome that the test looks at
                self.wrong.append(error)

    async def more(self, *places: str) -> None:
        """Wait until so many more calls have had their result at each of these brokers."""
        before = self.ends.copy()
        await until(lambda: all(self.ends[place] >= before[place] + _CALLS / 3 for place in places))


@pytest.fixture
async def brokers(own_node: Broker, rabbitmq: Broker) -> AsyncIterator[dict[str, str]]:
    """Three brokers, by their URLs, with one worker for all; the first can be killed."""
    urls = {
        "own": await asyncio.to_thread(own_node.fresh_vhost),
        "east": await asyncio.to_thread(rabbitmq.fresh_vhost),
        "west": await asyncio.to_thread(rabbitmq.fresh_vhost),
    }
    async with AsyncExitStack() as stack:
        for name, url in urls.items():
            server = RMQServer(url=url)

            async def place(name: str = name) -> str:
                await asyncio.sleep(0.001)
                return name

            server.add_service(place, queue_size=1000, fetch_size=20)
            await stack.enter_async_context(server.serving())
        yield urls
    for name in ("east", "west"):
        rabbitmq.give_back(urls[name])


async def test_a_broker_that_is_killed_takes_only_its_share(brokers: dict[str, str], own_node: Broker) -> None:
    load = Load()
    async with ShardedClient(brokers) as calls:
        running = asyncio.create_task(load.run(calls, 24))
        await load.more("own", "east", "west")
        await asyncio.to_thread(own_node.kill)
        await load.more("east", "west")
        assert calls.health()
        assert load.ends["lost"] <= 12  # those that were under way there and may not run twice
        assert [reason.partition(":")[0] for reason in calls.health().reasons] == ["own"]
        await asyncio.to_thread(own_node.start)
        await load.more("own", "east", "west")
        assert not calls.health().reasons
        load.stop = True
        await soon(running)
    assert load.wrong == []


async def test_a_broker_that_falls_silent_is_avoided(brokers: dict[str, str]) -> None:
    """Nothing tells that a broker does not answer: what waits there grows, and others get the calls."""
    async with Proxy(brokers["own"]) as proxy, ShardedClient({**brokers, "own": proxy.url}) as calls:
        assert {await calls.call("place") for _ in range(60)} == set(brokers)
        proxy.freeze()
        view = calls.options(timeout=120, idempotent=True)
        waiting = [asyncio.ensure_future(view.call("place")) for _ in range(_CALLS)]
        await until(lambda: calls.pending == calls.shards["own"].pending)
        stuck = calls.pending
        assert stuck < _CALLS / 3
        proxy.cut()  # as when the heartbeats stop
        proxy.thaw()
        found = Counter(await soon(asyncio.gather(*waiting)))
        assert sum(found.values()) == _CALLS
        assert not calls.pending

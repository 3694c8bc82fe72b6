"""The fake broker is held by whom it serves: nothing depends on when the garbage collector runs."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, ConnectionLostError, RMQClient, RMQServer
from rabibridge_testing import fake_broker_context, memory_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(params=["after each turn", "never"])
def loop_factory(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Make event loops that collect garbage after each of their turns, or never."""

    class Collecting(asyncio.SelectorEventLoop):
        def _run_once(self) -> None:
            super()._run_once()  # type: ignore[misc]
            if request.param != "never":
                gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of what earlier tests have left, such as an event loop
        gc.collect()
    gc.freeze()  # what is there already is not looked at again: that would take seconds
    gc.disable()
    yield Collecting
    gc.enable()
    gc.unfreeze()


def test_all_that_a_test_does(loop_factory: Any) -> None:
    async def rows(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def work(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def served() -> None:
        server = RMQServer()
        server.add_service(rows)
        server.add_service(work, name="other")
        async with server.serving(), RMQClient() as client:
            await server.wait_serving()
            assert [row async for row in client.stream("rows", 5)] == [0, 1, 2, 3, 4]
            assert [reply.result async for reply in client.broadcast("other", 0)] == [0]
            assert await client.call("other", 1) == 1

    async def main(broker: Any) -> None:
        broker.add_service(work)
        broker.stub("silent", raises=CallTimeoutError)
        async with RMQClient() as client:
            assert await client.call("work", 100) == 100
            with pytest.raises(CallTimeoutError):
                await client.options(timeout=100).call("silent")
            call = asyncio.ensure_future(client.call("work", 100))
            await broker.wait_for_call("work", count=2)
            broker.lose_connection()
            with pytest.raises(ConnectionLostError):
                await call
            await client.notify("work", 0)
            assert await client.call("work", 1) == 1
        await served()

    with fake_broker_context(auto_advance=True) as broker, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main(broker))
    assert broker.clock.seconds == 0.0


def test_named_brokers_stay(loop_factory: Any) -> None:
    async def ask() -> int:
        async with RMQClient(url="memory://kept") as client:
            return int(await client.call("number"))

    async def main() -> None:
        async def number() -> int:
            return 3

        server = RMQServer(url="memory://kept")
        server.add_service(number)
        async with server.serving():
            await server.wait_serving()
            assert [await ask() for _ in range(3)] == [3, 3, 3]

    memory_broker("kept")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())

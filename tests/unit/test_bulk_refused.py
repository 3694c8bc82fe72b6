"""Bulks of calls whose queue is full: they wait, within the retry budget and their timeouts, instead of failing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, QueueFullError, RetryRefused
from rabibridge_core._client.send_window import SendWindow
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_testing import MemoryBroker
from tests.support.waiting import longer, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rabibridge_core.transport import Caller, CallerEvents, Request

PATIENCE = 60.0
_NO_RETRIES = RetryRefused(attempts=1, base=0.01, cap=0.1)


class _Counting:
    """A transport that counts the requests that are sent."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def open_caller(self, events: CallerEvents) -> Caller:
        caller = await self._transport.open_caller(events)
        send = caller.send

        def counted(request: Request, /) -> None:
            self.sent += 1
            send(request)

        caller.send = counted
        return caller  # type: ignore[no-any-return]


@asynccontextmanager
async def _system(
    function: Callable[..., Any], retry: RetryRefused | None = None, **limits: Any
) -> AsyncIterator[tuple[RpcClient, _Counting]]:
    broker, settings = MemoryBroker(), load_settings(require_broker=False)
    server = RpcServer(transport=broker.transport(), settings=settings)
    server.add_service(function, name="work", **limits)
    transport: Any = _Counting(broker.transport())
    async with server, RpcClient(transport=transport, settings=settings, retry=retry) as client:
        serving = asyncio.create_task(server.run_serve(signals=False))
        await server.wait_serving()
        yield client, transport
        server.stop()
        await serving


async def _work(number: int) -> int:
    await asyncio.sleep(0.001)
    return number


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("retry", [None, _NO_RETRIES])
async def test_a_small_queue_slows_a_bulk_down(ordered: bool, retry: RetryRefused | None) -> None:
    """A queue that takes a fraction of what the bulk would send: nothing fails, and little is sent in vain."""
    async with _system(_work, retry, queue_size=4, fetch_size=2) as (client, transport), asyncio.timeout(PATIENCE):
        results = client.options(timeout=PATIENCE).map("work", range(500), concurrency=64, ordered=ordered)
        found = [number async for number in results]
    assert sorted(found) == list(range(500))
    assert found == sorted(found) or not ordered
    # The first 64 at once, of which up to 62 are refused, and then one in ten more than the queue takes.
    assert transport.sent <= 500 + 64 + 0.25 * 500


async def test_without_retry_a_refusal_is_an_error() -> None:
    async with _system(_work, queue_size=1, fetch_size=1) as (client, _), asyncio.timeout(PATIENCE):
        view = client.options(timeout=PATIENCE, retry=False)
        with pytest.raises(QueueFullError):
            async for _ in view.map("work", range(100)):
                pass
        found = [each async for each in view.map("work", range(100), return_exceptions=True)]
        assert {type(each).__name__ for each in found} == {"int", "QueueFullError"}


async def test_a_call_waits_no_longer_than_its_timeout() -> None:
    """All of a thousand calls are refused for good: few are sent again, since what waits counts in the budget."""
    retry = RetryRefused(base=0.01, cap=0.2, ratio=0.2, burst=20)
    async with _system(_work, retry, queue_size=0) as (client, transport), asyncio.timeout(1.5 * PATIENCE):
        timeouts = longer(1.0)
        while True:
            timeout = next(timeouts)
            transport.sent = 0
            bulk = client.options(timeout=timeout).map("work", range(1000), concurrency=1000, return_exceptions=True)
            errors = [each async for each in bulk]
            assert len(errors) == 1000
            refused = [error for error in errors if isinstance(error, QueueFullError)]
            assert all(isinstance(error, QueueFullError | CallTimeoutError) for error in errors)
            if any(error.attempts > 1 for error in refused):  # it was refused before its time was over
                break
        after_waits = 50 * timeout  # one after each wait, of 0.1 s or more at last
        assert 1000 < transport.sent <= 1000 + 200 + 20 + after_waits
        assert client.pending == 0


async def test_others_fill_the_queue() -> None:
    """None of the bulk's own calls is in flight, so nothing but time lets it try again."""
    gate = asyncio.Event()

    async def held(number: int) -> int:
        await gate.wait()
        return number

    async with _system(held, _NO_RETRIES, queue_size=2, fetch_size=1) as (client, _), asyncio.timeout(PATIENCE):
        blocking = [asyncio.create_task(client.remote_call("work", (number,), retry=False)) for number in range(9)]
        await until(lambda: sum(task.done() for task in blocking) == 6)
        waiting = [task for task in blocking if not task.done()]  # one is in flight, and two are in the queue
        assert all(isinstance(task.exception(), QueueFullError) for task in blocking if task not in waiting)
        results = client.map("work", range(10))
        first = asyncio.create_task(anext(results))
        await asyncio.wait([first], timeout=0.2)
        assert not first.done()
        gate.set()
        assert await first == 0
        assert [each async for each in results] == list(range(1, 10))
        await asyncio.gather(*waiting)


async def test_a_key_for_many_calls_is_refused() -> None:
    async with _system(_work) as (client, _):
        with pytest.raises(ConfigurationError, match="idempotency_key names one call"):
            client.options(idempotency_key="one").map("work", range(3))
        with pytest.raises(TypeError, match="is a class"):
            client.map(int, range(3))
        with pytest.raises(ConfigurationError, match="concurrency"):
            client.starmap("work", [(1,)], concurrency=0)


async def test_items_that_are_no_arguments() -> None:
    async with _system(_work) as (client, _), asyncio.timeout(PATIENCE):
        wrong: Any = [(1,), 2]
        with pytest.raises(TypeError, match="an item of starmap is a tuple of arguments, not of type int"):
            async for _ in client.starmap("work", wrong):
                pass


async def test_the_window() -> None:
    changes: list[None] = []
    window = SendWindow(8, RetryRefused(base=30.0, cap=60.0), lambda: changes.append(None))
    for _ in range(8):
        assert window.open
        window.sent()
    assert not window.open
    turns = [asyncio.create_task(window.refused(QueueFullError("full"))) for _ in range(5)]
    await asyncio.sleep(0)
    assert not window.open
    window.ended(result=True)  # one has left the queue, and one takes its place
    await asyncio.sleep(0)
    assert [turn.done() for turn in turns] == [True, False, False, False, False]
    turns[1].cancel()
    window.ended(result=True)  # it comes to the turn of the one that is cancelled, and goes on to the next
    await asyncio.sleep(0)
    assert [turn.done() for turn in turns] == [True, True, True, False, False]
    for _ in range(2):
        window.ended(result=True)
        await asyncio.sleep(0)
    assert all(turn.done() for turn in turns)
    assert not window.open  # three are in flight, as many as the queue took
    assert not changes or not window.open
    window.ended(result=True)
    assert window.open
    window.sent()
    for _ in range(10):
        window.ended(result=True)
        window.sent()
    window.sent()  # after ten results, one more is tried
    assert not window.open
    window.close()

"""Providers are cleaned up before the reply, on cancel, at the deadline, and when another cleanup fails or hangs."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import CallTimeoutError, CurrentCall, Depends, RemoteExecutionError, current_call
from tests.support.waiting import PATIENCE, longer, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

from tests.unit.provider_support import asynchronous, events, served, synchronous


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


@pytest.mark.parametrize("provider", [asynchronous, synchronous])
async def test_a_cancelled_call_is_cleaned_up(provider: Callable[..., Any]) -> None:
    async def forever(value: str = Depends(provider)) -> None:
        events.append("runs")
        await asyncio.sleep(10 * PATIENCE)

    kind = "async" if provider is asynchronous else "sync"
    async with served(forever) as (server, client):
        call = asyncio.create_task(client.remote_call("forever"))
        await until(lambda: "runs" in events)
        call.cancel()
        await until(lambda: server._server.active_requests == 0)
        assert events == [f"enter {kind}", "runs", f"{kind} sees CancelledError", f"leave {kind}"]


@pytest.mark.parametrize("provider", [asynchronous, synchronous])
async def test_a_call_whose_time_is_over_is_cleaned_up(provider: Callable[..., Any]) -> None:
    async def forever(value: str = Depends(provider)) -> None:
        events.append("runs")
        await asyncio.sleep(10 * PATIENCE)

    kind = "async" if provider is asynchronous else "sync"
    async with served(forever) as (server, client):
        for timeout in longer(0.2):
            with pytest.raises(CallTimeoutError):
                await client.remote_call("forever", timeout=timeout)
            await until(lambda: server._server.active_requests == 0)
            if "runs" in events:  # it began in time
                break
            events.clear()
        assert events == [f"enter {kind}", "runs", f"{kind} sees CancelledError", f"leave {kind}"]


async def test_a_call_that_is_cancelled_while_a_thread_enters_is_cleaned_up() -> None:
    entering, go_on, calls = threading.Event(), threading.Event(), list[CurrentCall]()

    def slow() -> Iterator[int]:
        calls.append(current_call())
        entering.set()
        go_on.wait(PATIENCE)
        events.append("entered")
        try:
            yield 1
        finally:
            events.append("left")

    async def never(value: int = Depends(slow)) -> None:
        events.append("runs")

    async with served(never) as (server, client):
        call = asyncio.create_task(client.remote_call("never"))
        await until(entering.is_set)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: calls[0].cancelled)
        go_on.set()
        await until(lambda: server._server.active_requests == 0)
        assert events == ["entered", "left"]


async def test_a_cleanup_is_not_torn_apart_by_the_deadline() -> None:
    cleaning, go_on = asyncio.Event(), asyncio.Event()

    async def careful() -> AsyncIterator[int]:
        yield 1
        cleaning.set()
        await go_on.wait()
        events.append("cleaned up")

    async def quick(value: int = Depends(careful)) -> int:
        return value

    async with served(quick) as (server, client):
        for timeout in longer(0.2):
            with pytest.raises(CallTimeoutError):
                await client.remote_call("quick", timeout=timeout)
            await until(lambda: cleaning.is_set() or not server._server.active_requests)
            if cleaning.is_set():  # it began in time
                break
        call = asyncio.create_task(client.remote_call("quick"))
        await until(lambda: server._server.active_requests == 2)
        call.cancel()
        await asyncio.sleep(0.05)
        assert server._server.active_requests == 2
        go_on.set()
        await until(lambda: server._server.active_requests == 0)
        assert events == ["cleaned up"] * 2


async def test_the_reply_waits_for_the_cleanup_which_counts_in_fetch_size() -> None:
    go_on = asyncio.Event()

    async def slow_end() -> AsyncIterator[int]:
        yield 1
        await go_on.wait()

    async def quick(value: int = Depends(slow_end)) -> int:
        events.append("runs")
        return value

    async with served(quick, fetch_size=1) as (_, client):
        calls = [asyncio.create_task(client.remote_call("quick", ftype="any", timeout=PATIENCE)) for _ in range(2)]
        await until(lambda: bool(events))
        await asyncio.sleep(0.05)
        assert events == ["runs"]
        assert not any(call.done() for call in calls)
        go_on.set()
        assert await asyncio.gather(*calls) == [1, 1]


async def test_one_cleanup_that_raises_does_not_skip_the_others_and_reaches_the_caller() -> None:
    async def failing(first: str = Depends(asynchronous)) -> AsyncIterator[int]:
        yield 1
        raise ValueError("commit failed")

    async def write(one: int = Depends(failing), two: str = Depends(synchronous)) -> int:
        return one

    async with served(write) as (_, client):
        with pytest.raises(RemoteExecutionError, match="commit failed"):
            await client.remote_call("write", ftype="any", timeout=PATIENCE)
        assert events == ["enter async", "enter sync", "leave sync", "async sees ValueError", "leave async"]


async def test_a_provider_cannot_make_an_error_disappear() -> None:
    async def swallowing() -> AsyncIterator[int]:
        try:
            yield 1
        except ZeroDivisionError:
            events.append("rolled back")

    async def divide(value: int = Depends(swallowing)) -> float:
        return value / 0

    def divide_in_thread(value: int = Depends(contextmanager_swallowing)) -> float:
        return value / 0

    async with served(divide, divide_in_thread) as (_, client):
        for name in ("divide", "divide_in_thread"):
            with pytest.raises(RemoteExecutionError, match="ZeroDivisionError"):
                await client.remote_call(name, ftype="any", timeout=PATIENCE)
        assert events == ["rolled back"] * 2


@contextmanager
def contextmanager_swallowing() -> Iterator[int]:
    try:
        yield 1
    except ZeroDivisionError:
        events.append("rolled back")


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_a_cleanup_that_hangs_is_bounded(in_a_thread: bool) -> None:
    go_on = threading.Event()

    async def hanging() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(10 * PATIENCE)

    def hanging_thread() -> Iterator[int]:
        yield 1
        go_on.wait(PATIENCE)

    provider: Callable[..., Any] = hanging_thread if in_a_thread else hanging

    async def quick(first: str = Depends(asynchronous), value: int = Depends(provider, cleanup_timeout=0.1)) -> int:
        return value

    async with served(quick) as (_, client):
        with pytest.raises(RemoteExecutionError, match=r"hanging.*longer than cleanup_timeout=0\.1 s"):
            await client.remote_call("quick", ftype="any", timeout=PATIENCE)
        assert events[-1] == "leave async"
        go_on.set()


async def test_a_cleanup_that_fails_after_a_cancellation_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("nobody hears this")

    async def forever(value: int = Depends(failing)) -> None:
        events.append("runs")
        await asyncio.sleep(10 * PATIENCE)

    async with served(forever) as (server, client):
        call = asyncio.create_task(client.remote_call("forever"))
        await until(lambda: bool(events))
        with caplog.at_level(logging.WARNING):
            call.cancel()
            await until(lambda: server._server.active_requests == 0)
    assert "cleanup of the provider" in caplog.text
    assert "nobody hears this" in caplog.text

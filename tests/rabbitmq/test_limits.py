"""What protects a worker: a bounded queue, a bounded number of calls in hand, a deadline on every call."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import aio_pika
import aiormq
import pytest

from rabibridge import CallTimeoutError, QueueFullError, RetryRefused
from tests.rabbitmq.support import Gate, until_call_gives, until_waiting
from tests.support.waiting import PATIENCE, longer, soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage


def _calls(client: RMQClient, name: str, arguments: Sequence[Any], **options: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(client.remote_call(name, (argument,), **options)) for argument in arguments]


async def _drained(stage: Stage, name: str) -> None:
    """Wait until nothing waits in the queue: the broker drops what has expired when it comes to it."""
    await until_waiting(stage.url, f"rpc_async_{name}", 0)


async def test_a_full_queue_refuses_and_what_it_refused_never_runs(stage: Stage) -> None:
    gate, ran = Gate(), list[int]()

    async def work(number: int) -> int:
        ran.append(number)
        await gate.wait()
        return number

    name = await stage.serve(work, queue_size=2, fetch_size=1)
    client = await stage.client()
    accepted = _calls(client, name, [0])
    await gate.holds(1)
    accepted += _calls(client, name, [1, 2])
    refused = _calls(client, name, range(3, 50))
    for outcome in await soon(asyncio.gather(*refused, return_exceptions=True)):
        assert isinstance(outcome, QueueFullError)
        assert isinstance(outcome, aio_pika.exceptions.DeliveryError)
        assert outcome.executed is False
        assert outcome.func_name == name
        assert name in str(outcome)
        assert "full" in str(outcome)
    assert client.pending == 3
    gate.opened.set()
    assert await soon(asyncio.gather(*accepted)) == [0, 1, 2]
    assert await soon(client.remote_call(name, (100,))) == 100
    assert ran == [0, 1, 2, 100]
    assert client.pending == client.stray_replies == 0


async def test_a_full_queue_is_told_as_rabibridge_0_1_tells_it(stage: Stage) -> None:
    name = await stage.serve(Gate().function(), queue_size=0)  # a queue that holds nothing is always full
    client = await stage.client()
    with pytest.raises(aio_pika.exceptions.DeliveryError) as refused:
        await soon(client.remote_call(name))
    assert isinstance(refused.value.frame, aiormq.spec.Basic.Nack)
    success, (code, error) = await soon(client.try_remote_call(name))
    assert (success, code, type(error)) == (False, 1, type(refused.value))


async def test_a_refusal_says_how_long_the_backlog_takes(stage: Stage) -> None:
    async def work() -> None:
        await asyncio.sleep(0.02)

    name = await stage.serve(work, queue_size=2, fetch_size=1)
    client = await stage.client()

    hints = list[float]()

    async def call_until_a_hint_is_known() -> None:
        while not hints:
            try:
                await client.remote_call(name)
            except QueueFullError as full:
                if full.retry_after is not None:
                    hints.append(full.retry_after)

    await soon(asyncio.gather(*(call_until_a_hint_is_known() for _ in range(6))))
    assert hints[0] >= 0.019  # no call takes less than the function


async def test_refused_calls_are_sent_again_and_run_once(stage: Stage) -> None:
    ran = list[int]()

    async def work(number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0.001)
        return number

    name = await stage.serve(work, queue_size=2, fetch_size=1)
    client = await stage.client(retry=RetryRefused(attempts=10**6, base=0.01, cap=0.05, burst=100_000))
    assert await soon(asyncio.gather(*_calls(client, name, range(50)))) == list(range(50))
    assert sorted(ran) == list(range(50))
    assert client.pending == client.stray_replies == 0


async def test_fetch_size_bounds_the_calls_in_flight_exactly(stage: Stage) -> None:
    gate = Gate()

    async def ping() -> str:
        return "pong"

    work = gate.function()
    name, ping_name = stage.register(work, fetch_size=5), stage.register(ping)
    await stage.server(work, ping)
    client = await stage.client()
    calls = _calls(client, name, range(40))
    await gate.holds(5)
    for _ in range(3):
        assert await soon(client.remote_call(ping_name)) == "pong"  # by now a sixth one would have started
    assert gate.running == gate.most == 5
    gate.opened.set()
    assert await soon(asyncio.gather(*calls)) == list(range(40))
    assert gate.most == 5


async def test_each_service_has_its_own_fetch_size(stage: Stage) -> None:
    narrow, wide = Gate(), Gate()
    one, other = narrow.function(), wide.function()
    one_name, other_name = stage.register(one, fetch_size=1), stage.register(other, fetch_size=7)
    await stage.server(one, other)
    client = await stage.client()
    calls = _calls(client, one_name, range(10)) + _calls(client, other_name, range(10))
    await wide.holds(7)
    await narrow.holds(1)
    assert (narrow.running, wide.running) == (1, 7)
    narrow.opened.set()
    wide.opened.set()
    await soon(asyncio.gather(*calls))
    assert (narrow.most, wide.most) == (1, 7)


async def test_the_queue_timeout_drops_what_waited_too_long(stage: Stage) -> None:
    gate, ran = Gate(), list[str]()

    async def work(what: str) -> str:
        ran.append(what)
        await gate.wait()
        return what

    name = stage.register(work, fetch_size=1, timeout=0.1)
    await (await stage.server(work)).wait_serving()
    client = await stage.client()
    (first,) = _calls(client, name, ["first"])
    await gate.holds(1)
    (late,) = _calls(client, name, ["late"], timeout=3)
    await _drained(stage, name)  # the broker drops it without a word: the caller's own timeout tells it
    gate.opened.set()
    assert await soon(first) == "first"
    with pytest.raises(CallTimeoutError) as timed_out:
        await soon(late)
    assert timed_out.value.timeout == 3
    assert isinstance(timed_out.value, asyncio.TimeoutError)
    await until_call_gives(client, name, "next", "next")
    assert ran == ["first", "next"]
    assert client.pending == 0


async def test_what_expires_in_the_queue_by_its_caller_never_runs(stage: Stage) -> None:
    gate, ran = Gate(), list[str]()

    async def work(what: str) -> str:
        ran.append(what)
        await gate.wait()
        return what

    name = await stage.serve(work, fetch_size=1)
    client = await stage.client()
    (first,) = _calls(client, name, ["first"])
    await gate.holds(1)
    late = _calls(client, name, [f"late {number}" for number in range(10)], timeout=0.1)
    for call in late:
        with pytest.raises(CallTimeoutError) as timed_out:
            await soon(call)
        assert timed_out.value.func_name == name
        assert timed_out.value.executed is None
    await _drained(stage, name)
    gate.opened.set()
    assert await soon(first) == "first"
    assert await soon(client.remote_call(name, ("next",))) == "next"
    assert ran == ["first", "next"]
    assert client.pending == client.stray_replies == 0


async def test_the_deadline_stops_the_function_too(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function(), fetch_size=1)
    client = await stage.client()
    for round_ in range(3):  # each shows that the one before is not in hand any more
        for timeout in longer(0.2):
            with pytest.raises(CallTimeoutError):
                await soon(client.remote_call(name, timeout=timeout))
            if gate.started.qsize() > round_:  # it was in time
                break
        assert client.pending == 0
        assert gate.cancelled >= round_
    gate.opened.set()
    assert await soon(client.remote_call(name, ("in time",))) == "in time"
    assert gate.cancelled == gate.started.qsize() - 1 >= 3
    assert client.stray_replies == 0


async def test_a_sync_function_beyond_its_deadline_answers_nobody(stage: Stage) -> None:
    release, started = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(what: str) -> str:
        loop.call_soon_threadsafe(started.set)
        release.wait(PATIENCE)
        return what

    name = await stage.serve(work, fetch_size=1)
    client = await stage.client()
    for timeout in longer(0.2):
        with pytest.raises(CallTimeoutError):
            await soon(client.remote_call(name, ("late",), ftype="sync", timeout=timeout))
        if started.is_set():  # it was in time
            break
    release.set()
    assert await soon(client.remote_call(name, ("in time",), ftype="sync")) == "in time"
    assert client.stray_replies == 0


async def test_a_timeout_of_nothing(stage: Stage) -> None:
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    name = await stage.serve(work)
    client = await stage.client()
    for timeout in (0, -1.5):
        with pytest.raises(CallTimeoutError) as timed_out:
            await soon(client.remote_call(name, timeout=timeout))
        assert timed_out.value.executed is False
    assert ran == []
    await soon(client.remote_call(name))
    assert ran == [1]


async def test_a_handler_that_will_not_stop_answers_late_and_its_reply_is_dropped(stage: Stage) -> None:
    release, began, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(wait: bool) -> str:
        try:
            if wait:
                began.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            refused.set()
            await release.wait()
        return "done"

    name = await stage.serve(stubborn, fetch_size=1)
    client = await stage.client()
    for timeout in longer(0.2):
        with pytest.raises(CallTimeoutError):
            await soon(client.remote_call(name, (True,), timeout=timeout))
        if began.is_set():  # it was in time
            break
    await soon(refused.wait())
    release.set()
    assert await soon(client.remote_call(name, (False,))) == "done"
    assert client.pending == 0


async def test_work_is_shared_between_servers(stage: Stage) -> None:
    gate = Gate()
    work = gate.function()
    name = stage.register(work, fetch_size=2)
    for _ in range(2):
        await stage.server(work)
    client = await stage.client()
    calls = _calls(client, name, range(8))
    await gate.holds(4)
    assert gate.running == 4
    gate.opened.set()
    assert await soon(asyncio.gather(*calls)) == list(range(8))
    assert gate.most == 4

"""Calls that are made for requests of other protocols: what they inherit, and for how long."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    ConfigurationError,
    ContentRejectedError,
    InvalidArgumentsError,
    RMQClient,
    current_call,
    request_scope,
)
from rabibridge.sync import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def told() -> tuple[float | None, str | None, str]:
    call = current_call()
    return call.time_left, call.criticality, str(call.headers.get("traceparent", ""))


async def told_by_another() -> Any:
    async with RMQClient() as client:
        return await client.call(told)


async def numbers(end: int, *, start_at: int) -> AsyncIterator[int]:
    for number in range(start_at, end):
        yield number


async def letters() -> AsyncIterator[str]:
    for letter in "abc":
        yield letter


async def test_calls_inherit_deadline_class_and_headers(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(told)
    async with RMQClient() as client:
        with request_scope(timeout=50, criticality="batch", headers={"traceparent": TRACE}):
            time_left, criticality, trace = await client.call(told)
            assert time_left is not None
            assert time_left < 55
            assert (criticality, trace) == ("batch", TRACE)
            time_left, criticality, trace = await client.options(
                timeout=20, criticality="urgent", headers={"traceparent": "other"}
            ).call(told)
            assert time_left is not None
            assert time_left < 25
            assert (criticality, trace) == ("urgent", "other")
            time_left, _, _ = await client.options(timeout=500, inherit_deadline=False).call(told)
            assert time_left is not None
            assert time_left > 60
        time_left, criticality, trace = await client.call(told)
        assert time_left is not None
        assert time_left > 60
        assert (criticality, trace) == (None, "")


async def test_all_calls_share_the_time_and_the_error_says_whose_it_was(fake_broker: FakeBroker) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    fake_broker.add_service(hang)
    async with RMQClient() as client:
        with request_scope(timeout=0.1):
            with pytest.raises(CallTimeoutError, match="the time left to the request that is being answered here"):
                await client.call(hang)
            with pytest.raises(CallTimeoutError, match="could not be sent"):
                await client.call(hang)


async def test_the_earlier_deadline_of_nested_scopes_counts(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(told)
    async with RMQClient() as client:
        with request_scope(timeout=30, criticality="batch"), request_scope(timeout=500, headers={"traceparent": TRACE}):
            time_left, criticality, trace = await client.call(told)
    assert time_left is not None
    assert time_left < 35
    assert (criticality, trace) == ("batch", TRACE)


async def test_tasks_that_outlive_the_scope_inherit_nothing_any_more(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(told)
    over = asyncio.Event()
    async with RMQClient() as client:

        async def later() -> Any:
            await over.wait()
            return await client.call(told)

        with request_scope(timeout=30, criticality="batch", headers={"traceparent": TRACE}):
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        over.set()
        time_left, criticality, trace = await task
    assert time_left > 60
    assert (criticality, trace) == (None, "")


async def test_headers_of_a_trace_are_for_the_calls_of_the_scope_alone(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(told)
    fake_broker.add_service(told_by_another)
    async with RMQClient() as client:
        with request_scope(timeout=30, criticality="batch", headers={"traceparent": TRACE}):
            time_left, criticality, trace = await client.call(told_by_another)
    assert time_left < 35
    assert (criticality, trace) == ("batch", "")


def test_a_thread_with_the_synchronous_client_inherits_the_same(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(told)
    seen: list[Any] = []
    with Client() as client:

        def work() -> None:
            with request_scope(timeout=30, criticality="batch", headers={"traceparent": TRACE}):
                seen.append(client.call(told))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    ((time_left, criticality, trace),) = seen
    assert time_left < 35
    assert (criticality, trace) == ("batch", TRACE)


async def test_it_is_no_call(fake_broker: FakeBroker) -> None:
    with request_scope(timeout=30), pytest.raises(LookupError):
        current_call()


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": "5"}, {"criticality": "a b"}, {"headers": {"rb-error": "x"}}],
    ids=["timeout", "class", "header"],
)
def test_what_is_wrong_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError), request_scope(**arguments):
        pass


async def test_a_stream_begins_at_the_item_that_was_chosen(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(numbers, resumable=True)
    fake_broker.add_service(letters)
    async with RMQClient() as client:
        stream = client.stream("numbers", 6).begin_at(4)
        assert [item async for item in stream] == [4, 5]
        assert stream.received == 2
        assert [item async for item in client.stream("numbers", 2).begin_at(9)] == []
        with pytest.raises(InvalidArgumentsError, match="not resumable"):
            await anext(client.stream("letters").begin_at(1))
        begun = client.stream("letters")
        assert await anext(begun) == "a"
        with pytest.raises(ConfigurationError, match="has begun"):
            begun.begin_at(1)
        with pytest.raises(ConfigurationError, match="0 or more"):
            client.stream("letters").begin_at(-1)


async def test_a_call_that_is_too_large_says_that_it_did_not_run(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(told)
    async with RMQClient() as client:
        with pytest.raises(ContentRejectedError) as caught:
            await client.remote_call("told", (os.urandom(2**24),))
        assert caught.value.executed is False
        fake_broker.max_message_size = 1000
        with pytest.raises(ContentRejectedError) as caught:
            await client.remote_call("told", (os.urandom(2000),))
    assert caught.value.executed is False

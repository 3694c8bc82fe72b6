"""What ``fake_broker.calls`` shows of each call: its options, and the items of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import Progress, RemoteExecutionError, RMQClient, current_call
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker, RecordedCall


async def add(left: int, right: int) -> int:
    current_call().progress(0.5)
    return left + right


async def count(end: int, until: int | None = None) -> AsyncIterator[int]:
    for number in range(end):
        yield number
        if number == until:
            raise LookupError("no more")


async def total(items: AsyncIterator[int], factor: int = 1) -> int:
    return sum([item async for item in items]) * factor


@pytest.fixture
def broker(fake_broker: FakeBroker) -> FakeBroker:
    for function in (add, count, total):
        fake_broker.add_service(function)
    return fake_broker


def options_of(call: RecordedCall) -> dict[str, Any]:
    names = ("kind", "criticality", "idempotent", "idempotency_key", "persistent", "headers", "wants_progress")
    return {name: getattr(call, name) for name in names}


async def test_the_options_of_a_call(broker: FakeBroker) -> None:
    reports: list[Progress] = []
    async with RMQClient() as client:
        await client.call(add, 1, 2)
        view = client.options(kind="async", criticality="batch", headers={"tenant": "a"}, persistent=True)
        await view.options(idempotency_key="order 7", on_progress=reports.append).call(add, 1, 2)
    plain, chosen = broker.calls_of("add")[0], broker.calls_of("add")[-1]
    assert options_of(plain) == {
        "kind": "any",
        "criticality": None,
        "idempotent": False,
        "idempotency_key": None,
        "persistent": False,
        "headers": {},
        "wants_progress": False,
    }
    assert options_of(chosen) == {
        "kind": "async",
        "criticality": "batch",
        "idempotent": True,
        "idempotency_key": "order 7",
        "persistent": True,
        "headers": {"tenant": "a"},
        "wants_progress": True,
    }
    assert (chosen.outcome, chosen.result, chosen.error) == ("result", 3, None)  # and not the report of progress
    assert (chosen.stream, chosen.upload) == (False, None)


async def test_a_class_is_taken_over(broker: FakeBroker) -> None:
    async def outer() -> int:
        return await client.call(add, 1, 2)

    broker.add_service(outer, classes={"interactive": 10, "batch": 10})
    async with RMQClient() as client:
        await client.options(criticality="batch").call(outer)
    assert [call.criticality for call in broker.calls_of("outer")] == ["batch"]
    assert {call.criticality for call in broker.calls_of("add")} == {"batch"}


async def test_a_key_that_was_learned_is_no_option(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add, idempotent=True)
    async with RMQClient() as client:
        await client.call(add, 1, 2)
        await client.call(add, 1, 2)
        await client.options(idempotent=True).call(add, 1, 2)
    assert [call.idempotent for call in fake_broker.calls] == [False, False, True]
    assert [call.idempotency_key is None for call in fake_broker.calls] == [True, False, False]


async def test_streams_and_uploads(broker: FakeBroker) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async with RMQClient() as client:
        assert len([item async for item in client.options(timeout=30).stream(count, 10_000)]) == 10_000
        with pytest.raises(RemoteExecutionError):
            [item async for item in client.stream(count, 5, until=2)]
        assert await client.call(total, numbers(), factor=2) == 6
        async with client.stream(count, 10**9) as left:
            assert await anext(left) == 0
            assert broker.calls[-1].outcome == "pending"
        await until(lambda: client.pending == 0)
        assert [item async for item in client.stream(count, 0)] == []
    whole, failed, fed, _, empty = broker.calls
    assert (whole.stream, whole.args, whole.outcome, whole.timeout) == (True, (10_000,), "result", 30)
    assert whole.result == list(range(10_000))
    assert (failed.stream, failed.kwargs, failed.outcome, failed.result) == (True, {"until": 2}, "error", None)
    assert isinstance(failed.error, RemoteExecutionError)
    assert (fed.stream, fed.upload, fed.args, fed.kwargs, fed.result) == (False, 0, (None,), {"factor": 2}, 6)
    assert (empty.outcome, empty.result) == ("result", [])

"""Bulks of calls: order, bounds, errors, and what is left when a loop ends early."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from tests.unit.bulk_support import PATIENCE, Calls, bulk, collect, instant, numbers, numbers_later, others, turns


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("source", [range, numbers, numbers_later], ids=["iterable", "generator", "async generator"])
async def test_every_item_gives_a_result(source: Any, ordered: bool) -> None:
    inputs = source(100) if source is range else source([], 100)
    found = [result async for result in bulk(instant, inputs, ordered=ordered)]
    assert sorted(found) == list(range(100))
    assert found == sorted(found) or not ordered
    assert not others()


@pytest.mark.parametrize("inputs", [(), numbers_later([], 0)])
async def test_an_empty_input(inputs: Any) -> None:
    assert [result async for result in bulk(instant, inputs)] == []


@pytest.mark.parametrize("source", [numbers, numbers_later])
@pytest.mark.parametrize("ordered", [True, False])
async def test_the_input_is_drawn_only_as_results_leave(source: Any, ordered: bool) -> None:
    calls, drawn = Calls(), list[Any]()
    results = bulk(calls, source(drawn), ordered=ordered)
    assert drawn == []
    first = asyncio.create_task(anext(results))
    await turns()
    assert drawn == calls.begun == [0, 1, 2]
    calls.end(0)
    assert await first == "result 0"
    await turns()
    assert drawn == [0, 1, 2, 3]
    calls.end(1, 2, 3)
    await turns()
    assert drawn == [0, 1, 2, 3]  # nobody has taken their results
    for number in (1, 2, 3):
        assert await anext(results) == f"result {number}"
    await turns()
    assert len(drawn) == 7
    assert calls.most == 3
    await results.aclose()
    assert drawn[-1] == "closed"
    assert sorted(calls.cancelled) == [4, 5, 6]
    assert not others()


async def test_order() -> None:
    for ordered, expected in ((True, [0, 1, 2]), (False, [2, 1, 0])):
        calls = Calls()
        results = bulk(calls, range(3), ordered=ordered)
        found = asyncio.create_task(collect(results))
        await turns()
        for number in (2, 1, 0):
            calls.end(number)
            await turns()
        assert await found == [f"result {number}" for number in expected]


@pytest.mark.parametrize("source", [numbers, numbers_later])
@pytest.mark.parametrize("ordered", [True, False])
async def test_the_first_error_ends_it(source: Any, ordered: bool) -> None:
    calls, drawn, found = Calls(), list[Any](), list[Any]()
    collecting = asyncio.create_task(collect(bulk(calls, source(drawn), 4, ordered=ordered), found))
    await turns()
    calls.end(0)
    calls.fail(2)
    with pytest.raises(LookupError, match="2"):
        await collecting
    assert found == ["result 0"]
    assert {1, 3} <= set(calls.cancelled)
    assert not calls.pending
    assert drawn[-1] == "closed"
    assert not others()


async def test_an_error_cancels_the_rest_although_nobody_takes_a_result_now() -> None:
    calls, drawn = Calls(), list[Any]()
    results = bulk(calls, numbers(drawn))
    first = asyncio.create_task(anext(results))
    await turns()
    calls.end(0)
    assert await first == "result 0"
    await turns()
    calls.end(1)
    await turns()
    calls.fail(3)
    await turns()
    assert calls.cancelled == [2]
    assert drawn[-1] == "closed"
    assert await anext(results) == "result 1"  # it was ready before
    with pytest.raises(LookupError):
        await anext(results)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_errors_in_the_place_of_results() -> None:
    async def divide(item: int, timeout: float | None, again: bool, /) -> float:
        return 1 / item

    found = await collect(bulk(divide, [1, 0, 2, 0], return_exceptions=True))
    assert [str(each) for each in found] == ["1.0", "division by zero", "0.5", "division by zero"]
    assert isinstance(found[1], ZeroDivisionError)


@pytest.mark.parametrize("how", ["break", "raise", "cancel", "aclose"])
@pytest.mark.parametrize("source", [numbers, numbers_later])
async def test_leaving_the_loop_cancels_and_closes(how: str, source: Any) -> None:
    calls, drawn = Calls(), list[Any]()

    async def loop() -> None:
        results = bulk(calls, source(drawn))
        async for _ in results:
            if how == "break":
                break
            if how == "raise":
                raise KeyError
            if how == "aclose":
                await results.aclose()
                await results.aclose()
                return

    running = asyncio.create_task(loop())
    await turns()
    if how != "cancel":
        calls.end(0)
    else:
        running.cancel()
    expected = {"raise": KeyError, "cancel": asyncio.CancelledError}.get(how)
    with contextlib.nullcontext() if expected is None else pytest.raises(expected):
        await running
    del running
    gc.collect()  # the traceback of an error holds the loop's generator
    async with asyncio.timeout(PATIENCE):
        while others():  # noqa: ASYNC110 - the event loop closes a generator that nobody holds
            await asyncio.sleep(0)
    assert not calls.pending
    assert len(calls.cancelled) >= 2
    assert drawn[-1] == "closed"

"""Bulks of calls: order, bounds, errors, and what is left when a loop ends early."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.bulk import BulkOptions, run_bulk
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

PATIENCE = 30.0


class Calls:
    """Calls that the test ends, one by one."""

    def __init__(self) -> None:
        self.pending: dict[Any, asyncio.Future[Any]] = {}
        self.begun: list[Any] = []
        self.cancelled: list[Any] = []
        self.most = 0

    async def __call__(self, item: Any, timeout: float | None, /) -> Any:
        assert timeout is None
        self.begun.append(item)
        future = self.pending[item] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.pending))
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        finally:
            del self.pending[item]

    def end(self, *items: Any) -> None:
        for item in items:
            self.pending[item].set_result(f"result {item}")

    def fail(self, item: Any, error: BaseException | None = None) -> None:
        self.pending[item].set_exception(error or LookupError(item))


async def instant(item: Any, timeout: float | None, /) -> Any:
    return item


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def bulk(calls: Any, inputs: Any, concurrency: int = 3, **options: Any) -> AsyncGenerator[Any]:
    return run_bulk(calls, inputs, BulkOptions(concurrency, **options))


def numbers(drawn: list[Any], stop: int = 1_000_000) -> Iterator[int]:
    try:
        for number in range(stop):
            drawn.append(number)
            yield number
    finally:
        drawn.append("closed")


async def numbers_later(drawn: list[Any], stop: int = 1_000_000) -> AsyncIterator[int]:
    try:
        for number in range(stop):
            await asyncio.sleep(0)
            drawn.append(number)
            yield number
    finally:
        await asyncio.sleep(0)
        drawn.append("closed")


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


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
        found = asyncio.create_task(_collect(results))
        await turns()
        for number in (2, 1, 0):
            calls.end(number)
            await turns()
        assert await found == [f"result {number}" for number in expected]


async def _collect(results: AsyncGenerator[Any], into: list[Any] | None = None) -> list[Any]:
    found = [] if into is None else into
    async for result in results:
        found.append(result)
    return found


@pytest.mark.parametrize("source", [numbers, numbers_later])
@pytest.mark.parametrize("ordered", [True, False])
async def test_the_first_error_ends_it(source: Any, ordered: bool) -> None:
    calls, drawn, found = Calls(), list[Any](), list[Any]()
    collecting = asyncio.create_task(_collect(bulk(calls, source(drawn), 4, ordered=ordered), found))
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
    async def divide(item: int, timeout: float | None, /) -> float:
        return 1 / item

    found = await _collect(bulk(divide, [1, 0, 2, 0], return_exceptions=True))
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


@pytest.mark.parametrize("return_exceptions", [True, False])
async def test_an_input_that_raises(return_exceptions: bool) -> None:
    def broken() -> Iterator[int]:
        yield 0
        yield 1
        raise KeyError("input")

    calls, found = Calls(), list[Any]()
    collecting = asyncio.create_task(_collect(bulk(calls, broken(), return_exceptions=return_exceptions), found))
    await turns()
    assert not collecting.done()
    calls.end(0, 1)
    with pytest.raises(KeyError, match="input"):
        await collecting
    assert found == ["result 0", "result 1"]
    assert not others()


async def test_an_input_that_cannot_be_closed() -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def broken() -> Iterator[int]:
        try:
            yield 0
            yield 1
        finally:
            raise KeyError("closing")

    results = bulk(instant, broken(), 1)
    assert await anext(results) == 0
    await results.aclose()
    assert [repr(error) for error in reported] == ["KeyError('closing')"]


async def test_what_belongs_to_others_is_not_closed(tmp_path: Any) -> None:
    (tmp_path / "lines").write_text("a\nb\nc\n")
    with (tmp_path / "lines").open() as lines:
        results = bulk(instant, lines, 1)
        assert await anext(results) == "a\n"
        await results.aclose()
        assert not lines.closed


async def test_the_input_is_closed_if_it_is_cancelled_before_it_began() -> None:
    drawn: list[Any] = []
    source = numbers(drawn)
    next(source)
    step = asyncio.create_task(anext(bulk(Calls(), source)))
    await asyncio.sleep(0)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    assert drawn[-1] == "closed"


async def test_a_call_that_others_cancel() -> None:
    calls = Calls()
    collecting = asyncio.create_task(_collect(bulk(calls, range(3))))
    await turns()
    next(task for task in others() if task.get_name() == "rabibridge-bulk-call").cancel()
    with pytest.raises(asyncio.CancelledError):
        await collecting
    assert not others()


async def test_two_steps_at_once_are_refused() -> None:
    results = bulk(Calls(), range(3))
    step = asyncio.create_task(anext(results))
    await turns()
    with pytest.raises(RuntimeError):
        await anext(results)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "3", None])
def test_concurrency_that_is_refused(concurrency: Any) -> None:
    with pytest.raises(ConfigurationError, match="concurrency is"):
        BulkOptions(concurrency).check()


def test_flags_that_are_refused() -> None:
    wrong: Any = 1
    with pytest.raises(ConfigurationError, match="ordered is 1"):
        BulkOptions(ordered=wrong).check()
    with pytest.raises(ConfigurationError, match="return_exceptions is 1"):
        BulkOptions(return_exceptions=wrong).check()


def test_an_input_that_is_none() -> None:
    with pytest.raises(TypeError, match="not of type int"):
        bulk(instant, 17)

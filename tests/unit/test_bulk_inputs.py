"""Inputs of bulks that raise, that cannot be closed, or that are none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.bulk_support import Calls, bulk, collect, instant, numbers, others, turns

if TYPE_CHECKING:
    from collections.abc import Iterator

from rabibridge_core._client.bulk import BulkOptions
from rabibridge_core.errors import ConfigurationError


@pytest.mark.parametrize("return_exceptions", [True, False])
async def test_an_input_that_raises(return_exceptions: bool) -> None:
    def broken() -> Iterator[int]:
        yield 0
        yield 1
        raise KeyError("input")

    calls, found = Calls(), list[Any]()
    collecting = asyncio.create_task(collect(bulk(calls, broken(), return_exceptions=return_exceptions), found))
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
    collecting = asyncio.create_task(collect(bulk(calls, range(3))))
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

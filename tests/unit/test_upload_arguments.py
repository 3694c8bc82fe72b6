"""Which arguments can be fed, how their items are checked, and what else they may be given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations are resolved
from typing import Any

import pytest

from tests.unit.scripted_requests import ScriptedRequest, until
from tests.unit.stream_requests import StreamRequest, make_streaming


async def collect(items: AsyncIterator[int], start: int = 0) -> list[int]:
    return [start, *[item async for item in items]]


def collect_in_thread(items: Iterator[int], start: int = 0) -> list[int]:
    return [start, *items]


BOTH = pytest.mark.parametrize("func", [collect, collect_in_thread])


def uploading(args: tuple[Any, ...] = (None,), upload: str = "0", **options: Any) -> StreamRequest:
    return StreamRequest(args, window=None, upload=upload, **options)


def end(service: Any, request: StreamRequest, total: int) -> Any:
    request.feed(service, {"rb-part": "end", "rb-index": total})


@pytest.mark.parametrize("func", [collect, collect_in_thread])
async def test_items_are_checked_if_the_service_validates(func: Any) -> None:
    for good in (True, False):
        service, request = make_streaming(func, validate=True), uploading()
        service.received(request)
        await until(lambda: request.parts)  # noqa: B023
        request.upload(service, 0, "1" if good else "one")
        end(service, request, 1)
        await until(lambda: request.settled)  # noqa: B023
        if good:
            assert request.answer == [0, [0, 1]]
        else:
            assert "item of items" in str(request.end["rb-error-message"])
            assert request.end["rb-error-type"] == "rabibridge_core.errors.SerializationError"
    service, request = make_streaming(func, validate=True), uploading((None, "no number"))
    service.received(request)
    await until(lambda: request.settled)
    assert (request.end["rb-error"], request.parts) == ("arguments", [])


@pytest.mark.parametrize("validate", [False, True])
@BOTH
async def test_values_may_be_given_as_a_list(func: Any, validate: bool) -> None:
    service = make_streaming(func, validate=validate)
    for request in (ScriptedRequest(([1, 2],)), ScriptedRequest((), {"items": [1, 2]})):
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        assert request.answer == [0, [0, 1, 2]]


@pytest.mark.parametrize("upload", ["1", "2", "start", "other", "-1", "", "00000000", "0 ", "\u0660"])
async def test_only_arguments_that_can_be_fed_are(upload: str) -> None:
    service, request = make_streaming(collect), uploading((None, None), upload)
    service.received(request)
    await until(lambda: request.settled)
    assert (request.end["rb-error"], request.parts) == ("arguments", [])
    assert "'items'" in str(request.end["rb-error-message"])


async def test_an_argument_with_a_value_is_not_fed() -> None:
    service, request = make_streaming(collect), uploading(([1],))
    service.received(request)
    await until(lambda: request.settled)
    assert request.end["rb-error"] == "arguments"


async def test_a_plain_service_is_not_fed() -> None:
    async def func(items: list[int]) -> int:
        raise AssertionError

    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(lambda: request.settled)
    assert request.end["rb-error"] == "arguments"

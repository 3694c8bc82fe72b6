"""validate=True with callables of every kind: the arguments of each are checked by its own annotations."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.exceptions import ArgumentsRefusedError
from rabibridge_core._server.executors import HandlerExecutor
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from tests.unit.scripted_requests import ScriptedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


async def scaled(factor: int, value: float, *, unit: str = "m") -> list[Any]:
    return [factor, value, unit]


class Scale:
    async def __call__(self, factor: int, value: float, *, unit: str = "m") -> list[Any]:
        return [factor, value, unit]

    async def method(self, factor: int, value: float, *, unit: str = "m") -> list[Any]:
        return [factor, value, unit]

    @classmethod
    async def of_class(cls, factor: int, value: float, *, unit: str = "m") -> list[Any]:
        return [factor, value, unit]

    @staticmethod
    async def static(factor: int, value: float, *, unit: str = "m") -> list[Any]:
        return [factor, value, unit]


def _set_by_hand() -> Any:
    async def plain(factor, value, *, unit="m"):  # type: ignore[no-untyped-def]
        return [factor, value, unit]

    plain.__annotations__ = {"factor": int, "value": float, "unit": str}
    return plain


def _wrapped(func: Any) -> Any:
    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await func(*args, **kwargs)

    return wrapper


async def _run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    executor = HandlerExecutor(ServiceSchema.of(func, ServiceLimits(validate=True), name="scale"))
    try:
        return await executor.run(args, kwargs, ActiveRequest("scale", ScriptedRequest()))
    finally:
        executor.close(drop_waiting=True)


@pytest.mark.parametrize(
    "func",
    [
        pytest.param(scaled, id="function"),
        pytest.param(Scale(), id="object with __call__"),
        pytest.param(Scale().method, id="bound method"),
        pytest.param(Scale.of_class, id="class method"),
        pytest.param(Scale.static, id="static method"),
        pytest.param(functools.partial(scaled), id="partial"),
        pytest.param(functools.partial(Scale()), id="partial of an object"),
        pytest.param(functools.partial(Scale().method), id="partial of a method"),
        pytest.param(
            functools.update_wrapper(functools.partial(scaled), scaled), id="partial with the function's name"
        ),
        pytest.param(_wrapped(scaled), id="wrapper"),
        pytest.param(_set_by_hand(), id="annotations set by hand"),
        pytest.param(_wrapped(_set_by_hand()), id="wrapper of annotations set by hand"),
        pytest.param(_wrapped(_wrapped(_set_by_hand())), id="two wrappers of them"),
    ],
)
async def test_arguments_are_converted_and_checked(func: Callable[..., Any]) -> None:
    assert await _run(func, ("2", "1.5"), {"unit": "km"}) == [2, 1.5, "km"]
    assert await _run(func, ("2",), {"value": "1.5"}) == [2, 1.5, "m"]
    for args, kwargs in ((("two", "1.5"), {}), (("2", None), {}), (("2", "1.5"), {"unit": []}), (("2",), {}),
                         (("2", "1.5", "km"), {}), (("2", "1.5"), {"size": "1"})):  # fmt: skip
        with pytest.raises(ArgumentsRefusedError):
            await _run(func, args, kwargs)


@pytest.mark.parametrize("func", [scaled, Scale(), Scale().method], ids=["function", "object", "method"])
async def test_what_a_partial_has_given_already(func: Callable[..., Any]) -> None:
    assert await _run(functools.partial(func, 3), ("1.5",), {}) == [3, 1.5, "m"]
    assert await _run(functools.partial(func, 3, unit="km"), ("1.5",), {}) == [3, 1.5, "km"]
    assert await _run(functools.partial(functools.partial(func, 3), unit="km"), ("1.5",), {"unit": "cm"}) == [
        3,
        1.5,
        "cm",
    ]
    for args in ((), ("x",), ("1.5", "2.5")):
        with pytest.raises(ArgumentsRefusedError):
            await _run(functools.partial(func, 3), args, {})


async def test_a_cached_function() -> None:
    @functools.cache
    def area(width: int, height: int) -> int:
        return width * height

    assert await _run(area, ("2", "3"), {}) == 6
    with pytest.raises(ArgumentsRefusedError):
        await _run(area, ("2", "wide"), {})
    assert area.cache_info().currsize == 1

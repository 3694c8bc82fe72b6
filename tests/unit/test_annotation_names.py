"""Which types the annotations of a function name, wherever those names are defined."""

from __future__ import annotations

import collections.abc
import functools
from collections.abc import Awaitable, Callable, Coroutine  # noqa: TC003 - annotations are resolved in these tests
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from rabibridge_core._codec.annotation_names import argument_annotations, result_annotation
from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core._server.executors import validator
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import RegistrationError
from tests.unit import annotated_elsewhere
from tests.unit.annotated_elsewhere import Elsewhere, logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator


def adapt(func: Callable[..., Any], value: object) -> object:
    """Return the value as this function gives it."""
    adapter = result_adapter(func)
    assert adapter is not None
    return adapter(value)


class Signature(Protocol):
    def item(self) -> Awaitable[Elsewhere]: ...
    def items(self) -> Coroutine[Any, Any, list[Elsewhere]]: ...


class Service:
    class Nested(NamedTuple):
        value: int

    def list(self) -> Nested:
        raise NotImplementedError

    def after(self) -> list[Nested]:  # type: ignore[valid-type] # pyright: ignore
        raise NotImplementedError

    @classmethod
    def made(cls) -> Elsewhere:
        raise NotImplementedError

    @staticmethod
    def alone() -> Elsewhere:
        raise NotImplementedError

    def __call__(self) -> Elsewhere:
        raise NotImplementedError

    async def coroutine(self) -> Elsewhere:
        raise NotImplementedError


def plain_function(factor: int = 1) -> Elsewhere:
    raise NotImplementedError


@functools.cache
def cached() -> Elsewhere:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("func", "annotation"),
    [
        (plain_function, Elsewhere),
        (functools.partial(plain_function, 2), Elsewhere),
        (logged(plain_function), Elsewhere),
        (cached, Elsewhere),
        (Service().list, Service.Nested),
        (Service.after, list[Service.Nested]),
        (Service.made, Elsewhere),
        (Service.__dict__["made"], Elsewhere),
        (Service.__dict__["alone"], Elsewhere),
        (Service(), Elsewhere),
        (Service.coroutine, Elsewhere),
        (Signature.item, Elsewhere),
        (Signature.items, list[Elsewhere]),
        (annotated_elsewhere.returns_elsewhere, Elsewhere),
        (logged(annotated_elsewhere.returns_elsewhere), Elsewhere),
    ],
)
def test_annotations_are_found(func: Callable[..., Any], annotation: Any) -> None:
    adapter = result_adapter(func)
    assert adapter is not None
    assert adapter.annotation == annotation


def test_a_class_of_a_running_function_is_found() -> None:
    @dataclass
    class Local:
        value: int

    def gives() -> list[Local]:
        raise NotImplementedError

    class Methods:
        def gives(self) -> Local:
            raise NotImplementedError

    def check() -> None:  # from a function inside, too
        assert adapt(gives, [{"value": 1}]) == [Local(1)]
        assert adapt(Methods.gives, {"value": 1}) == Local(1)

    check()


def make_function() -> Callable[..., Any]:
    class Gone:
        value: int

    def gives(value: Gone) -> Gone:
        raise NotImplementedError

    return gives


@pytest.mark.parametrize(
    ("func", "missing"),
    [
        (annotated_elsewhere.returns_what_checkers_know, "Fraction"),
        (logged(annotated_elsewhere.returns_what_checkers_know), "Fraction"),
        (make_function(), "Gone"),
    ],
)
def test_a_name_that_is_not_found_is_an_error_at_once(func: Callable[..., Any], missing: str) -> None:
    with pytest.raises(RegistrationError, match=rf"{func.__name__} \(.*\.py:\d+\): .*the result names '{missing}'"):
        result_adapter(func)


@pytest.mark.parametrize("func", [annotated_elsewhere.takes_what_checkers_know, make_function()])
def test_a_name_that_is_not_found_is_an_error_of_the_argument(func: Callable[..., Any]) -> None:
    schema = ServiceSchema.of(func, ServiceLimits(validate=True))
    with pytest.raises(RegistrationError, match=f"{func.__name__}.*the argument 'value' names"):
        validator(schema)


def test_arguments_of_a_running_function_and_of_wrappers_are_validated() -> None:
    @dataclass
    class Local:
        value: int

    def takes(local: Local, other: Elsewhere) -> None:
        raise NotImplementedError

    for func in (takes, logged(takes), functools.partial(takes)):
        validate = validator(ServiceSchema.of(func, ServiceLimits(validate=True), "takes"))
        assert validate(({"value": 1}, {"value": 2}), {}) == ((Local(1), Elsewhere(2)), {})


def test_iterators_that_are_imported_for_type_checkers_only_are_known() -> None:
    def stream(items: AsyncIterator[int], more: Iterable[bytes]) -> Iterator[str]:
        raise NotImplementedError

    found = {"items": collections.abc.AsyncIterator[int], "more": collections.abc.Iterable[bytes]}
    assert argument_annotations(stream) == found
    assert result_annotation(stream) == collections.abc.Iterator[str]

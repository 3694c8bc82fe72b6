"""Strategies of hypothesis for the arguments of services."""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import AsyncIterator, Mapping, Sequence  # noqa: TC003 - annotations are read
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal  # noqa: TC003
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from uuid import UUID  # noqa: TC003

import annotated_types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from rabibridge import Depends, RMQClient
from rabibridge_testing import fake_broker_context
from rabibridge_testing.strategies import StrategyError, arguments_of, values_of

T = TypeVar("T")
Odd = Annotated[int, annotated_types.Predicate(lambda number: number % 2 == 1)]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    article: Annotated[str, StringConstraints(min_length=1, max_length=5)]
    count: Annotated[int, Field(ge=1, lt=100)]
    parts: list[Line] = field(default_factory=list)


class Address(BaseModel):
    street: str = Field(min_length=2)
    number: int = Field(gt=0, le=999)


class Tree(BaseModel):
    left: Tree | None
    children: list[Tree]
    named: dict[str, Branch] = {}


@dataclass
class Branch:
    trees: Annotated[tuple[Tree, ...], Field(max_length=1)]
    only: Tree | Branch | int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    gift: bool
    note: str | None


def config() -> str:
    return "configured"


async def order(
    user: str,
    lines: list[Line],
    to: Address | None,
    kind: Literal["normal", "express"] = "normal",
    *more: int,
    at: datetime,
    day: Annotated[date, annotated_types.Ge(date(2000, 1, 1))] = date(2024, 1, 1),
    options: Options = {},  # noqa: B006 - nobody changes it
    setting: Annotated[str, Depends(config)] = "",
    **others: Annotated[float, annotated_types.Interval(ge=0, le=1)],
) -> str:
    return f"{len(lines)} lines for {user} {to} {kind} {more} {at} {day} {options} {others}"


async def shapes(
    colour: Colour,
    point: Point,
    pair: tuple[int, str],
    many: tuple[bytes, ...],
    unique: set[UUID],
    frozen: frozenset[Literal[1, 2]],
    prices: Mapping[str, Decimal],
    wait: timedelta,
    clock: time,
    even: Annotated[int, annotated_types.MultipleOf(4), annotated_types.Interval(gt=10, lt=30)],
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}[0-9]$")],
    odd: Annotated[
        Sequence[Annotated[int, annotated_types.Predicate(lambda number: number % 2 == 1)]], Field(max_length=2)
    ],
    nothing: None,
) -> None:
    assert even in (12, 16, 20, 24, 28)
    assert len(odd) <= 2


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(arguments_of(order), arguments_of(shapes))
def test_workers_that_validate_accept_every_call(
    ordered: tuple[tuple[Any, ...], dict[str, Any]], shaped: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    async def main() -> None:
        async with RMQClient() as client:
            await client.remote_call("order", *ordered, timeout=60)
            await client.remote_call("shapes", *shaped, timeout=60)

    with fake_broker_context() as broker:
        broker.add_service(order, validate=True)
        broker.add_service(shapes, validate=True)
        asyncio.run(main())


@given(st.data())
def test_arguments_with_defaults_are_left_out_at_times_and_others_given(data: st.DataObject) -> None:
    async def add(left: int, right: int = 0) -> int:
        return left + right

    args, kwargs = data.draw(arguments_of(add, left=st.just(5)))
    assert args[0] == 5
    assert len(args) in (1, 2)
    assert kwargs == {}


def height(value: Any) -> int:
    if isinstance(value, Tree):
        return 1 + max(map(height, (value.left, *value.children, *value.named.values())))
    return 1 + max(map(height, (*value.trees, value.only))) if isinstance(value, Branch) else 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(values_of(Tree))
def test_recursive_objects_stay_small(tree: Tree) -> None:
    assert 1 <= height(tree) <= 4


@pytest.mark.parametrize("pattern", [r"^[a$]\$$", re.compile(r"^[a$]\$$"), r"^a|b$", r"^(?:a$)"])
def test_texts_of_a_pattern_are_what_pydantic_accepts(pattern: Any) -> None:
    annotation = Annotated[str, Field(pattern=pattern)]

    @settings(max_examples=30)
    @given(values_of(annotation))
    def check(text: str) -> None:
        assert TypeAdapter(annotation).validate_python(text) == text

    check()


@given(values_of(Annotated[int, Field(ge=3, le=4)]))
def test_values_of_an_annotation(value: int) -> None:
    assert value in (3, 4)


async def unannotated(left) -> None:  # type: ignore[no-untyped-def]
    pass


async def anything(left: Any) -> None:
    pass


async def keys(by_number: dict[int, str]) -> None:
    pass


async def bare(values: list) -> None:  # type: ignore[type-arg]
    pass


async def fed(rows: AsyncIterator[int]) -> None:
    pass


async def generic(value: T) -> T:
    return value


async def foreign(loop: asyncio.AbstractEventLoop) -> None:
    pass


async def nested(order: dict[str, list[object]]) -> None:
    pass


async def limited(value: Annotated[float, Field(multiple_of=0.5)]) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (unannotated, r"argument 'left' of unannotated\(\) has no annotation"),
        (anything, r"argument 'left' of anything\(\) has no annotation that says what it is"),
        (
            keys,
            r"argument 'by_number' of keys\(\): maps travel with texts or bytes as keys, .* <class 'int'>",
        ),
        (bare, r"argument 'values' of bare\(\): the annotation list does not say what is in it, as list\[int\] does"),
        (fed, r"argument 'rows' of fed\(\): it is fed with items"),
        (generic, r"argument 'value' of generic\(\): the type variable ~T may be anything"),
        (foreign, r"argument 'loop' of foreign\(\): objects of AbstractEventLoop do not travel"),
        (nested, r"argument 'order' of nested\(\)\[...\]\[...\]: the annotation object allows anything"),
        (limited, r"argument 'value' of limited\(\): its limit multiple_of=0.5 is none that a strategy can keep"),
    ],
)
def test_what_has_no_strategy_is_refused_by_its_name(function: Any, text: str) -> None:
    with pytest.raises(StrategyError, match=text):
        arguments_of(function)


def test_a_strategy_for_no_argument_is_refused() -> None:
    with pytest.raises(TypeError, match=r"limited\(\) has no argument 'valeu': did you mean 'value'\?"):
        arguments_of(limited, valeu=st.none())
    arguments_of(limited, value=st.none())

"""What ``rabibridge schema diff`` calls a break, a warning, and no change."""

from __future__ import annotations

from collections.abc import AsyncIterator  # noqa: TC003 - the annotations are read
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import BaseModel, Field

from rabibridge_core import register_call
from rabibridge_core.errors import ServiceError
from rabibridge_core.rpc import RpcServer
from rabibridge_core.schemas import InterfaceDescription
from tests.schemas.support import changes, described

if TYPE_CHECKING:
    from collections.abc import Callable


class Red(Enum):
    RED = "red"


class RedOrBlue(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Small:
    a: int


@dataclass
class Larger:
    a: int
    b: int = 0


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class OtherTree(BaseModel):
    value: float
    children: list[OtherTree] = []


class Bounded(BaseModel):
    value: int = Field(ge=0)


class Unbounded(BaseModel):
    value: int


def takes(annotation: Any, default: Any = ...) -> Callable[..., Any]:
    async def it(a: Any) -> None: ...

    async def optional(a: Any = default) -> None: ...

    func = it if default is ... else optional
    func.__annotations__ = {"a": annotation, "return": None}
    return func


def gives(annotation: Any) -> Callable[..., Any]:
    async def it() -> Any: ...

    it.__annotations__ = {"return": annotation}
    return it


async def nothing() -> None: ...
async def a(a: int) -> None: ...
async def a_optional(a: int = 1) -> None: ...
async def a_other_default(a: int = 2) -> None: ...
async def a_and_b(a: int, b: int) -> None: ...
async def a_and_optional_b(a: int, b: int = 0) -> None: ...
async def b_and_a(b: int, a: int) -> None: ...
async def renamed(x: int) -> None: ...
async def positional(a: int, /) -> None: ...
async def positional_renamed(x: int, /) -> None: ...
async def keyword(*, a: int) -> None: ...
async def anything(*args: Any, **kwargs: Any) -> None: ...
async def fed(a: AsyncIterator[int]) -> None: ...
async def listed(a: list[int]) -> None: ...
def sync_a(a: int) -> None: ...
async def one() -> int: ...  # type: ignore[empty-body]
async def items() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(a, a, [], id="nothing changed"),
        pytest.param(a, a_and_optional_b, [], id="optional argument added"),
        pytest.param(a, a_and_b, [("argument-required", True)], id="required argument added"),
        pytest.param(a, nothing, [("argument-removed", True)], id="argument removed"),
        pytest.param(a, renamed, [("argument-renamed", True)], id="positional argument renamed"),
        pytest.param(positional, positional_renamed, [], id="positional-only argument renamed"),
        pytest.param(a_and_b, b_and_a, [("argument-moved", True)], id="arguments in another order"),
        pytest.param(a, keyword, [("argument-kind", True)], id="keyword-only now"),
        pytest.param(a, positional, [("argument-kind", True)], id="positional-only now"),
        pytest.param(keyword, a, [], id="by place, too"),
        pytest.param(a, anything, [], id="any arguments"),
        pytest.param(a_optional, a, [("argument-required", True)], id="default removed"),
        pytest.param(a, a_optional, [], id="default added"),
        pytest.param(a_optional, a_other_default, [("default-changed", False)], id="default changed"),
        pytest.param(a, sync_a, [("kind-changed", True)], id="async to sync"),
        pytest.param(one, items, [("stream-changed", True)], id="result to stream"),
        pytest.param(items, one, [("stream-changed", True)], id="stream to result"),
        pytest.param(fed, listed, [("upload-changed", True)], id="no upload any more"),
        pytest.param(takes(int), takes(int | str), [], id="argument widened"),
        pytest.param(takes(int | str), takes(int), [("argument-narrowed", True)], id="argument narrowed"),
        pytest.param(takes(int), takes(float), [], id="int to float taken"),
        pytest.param(gives(int), gives(int | None), [("result-widened", True)], id="result widened"),
        pytest.param(gives(int | None), gives(int), [], id="result narrowed"),
        pytest.param(gives(int), gives(Any), [("result-widened", True)], id="result anything"),
        pytest.param(gives(str), gives(bytes), [("result-widened", True)], id="text to bytes given"),
        pytest.param(takes(Red), takes(RedOrBlue), [], id="member added to an argument"),
        pytest.param(takes(RedOrBlue), takes(Red), [("argument-narrowed", True)], id="member of an argument removed"),
        pytest.param(gives(Red), gives(RedOrBlue), [("result-widened", True)], id="member added to a result"),
        pytest.param(gives(RedOrBlue), gives(Red), [], id="member of a result removed"),
        pytest.param(gives(Literal["a"]), gives(str), [("result-widened", True)], id="literal to text given"),
        pytest.param(takes(Small), takes(Larger), [], id="optional field of an argument added"),
        pytest.param(takes(list[int]), takes(list[str]), [("argument-narrowed", True)], id="items of another type"),
        pytest.param(takes(dict[str, int]), takes(dict[str, str]), [("argument-narrowed", True)], id="dict"),
        pytest.param(gives(Tree), gives(Tree), [], id="recursive, the same"),
        pytest.param(gives(Tree), gives(OtherTree), [("result-widened", True)], id="recursive, int to float given"),
        pytest.param(gives(OtherTree), gives(Tree), [], id="recursive, float to int given"),
        pytest.param(takes(Unbounded), takes(Bounded), [("argument-narrowed", True)], id="bound added to an argument"),
        pytest.param(takes(Bounded), takes(Unbounded), [], id="bound of an argument removed"),
        pytest.param(takes(set[int]), takes(list[int]), [], id="a list taken in the place of a set"),
        pytest.param(gives(tuple[int, str]), gives(tuple[int, int]), [("result-widened", True)], id="items of a tuple"),
    ],
)  # fmt: skip
def test_what_callers_notice(
    old: Callable[..., Any], new: Callable[..., Any], expected: list[tuple[str, bool]]
) -> None:
    assert changes(old, new) == expected


def _registered(**limits: Any) -> InterfaceDescription:
    @register_call(**limits)
    async def it() -> None: ...

    return described(it)


class Missing(ServiceError, code="changes.missing"):
    sku: str


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"queue_size": 10}, [("limit-lowered", False)]),
        ({"queue_size": 10}, {"queue_size": 5}, [("limit-lowered", False)]),
        ({"queue_size": 5}, {"queue_size": 10}, []),
        ({"timeout": 5}, {"timeout": 1}, [("limit-lowered", False)]),
        ({"idempotent": True}, {}, [("guarantee-changed", False)]),
        ({}, {"delivery": "at-most-once"}, [("guarantee-changed", False)]),
        ({}, {"raises": (Missing,)}, [("error-added", False)]),
        ({"raises": (Missing,)}, {}, []),
        ({"classes": {"a": 1, "b": 2}}, {"classes": {"a": 1}}, [("class-removed", False)]),
    ],
)
def test_limits_and_errors(old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, bool]]) -> None:
    found = _registered(**old).changes_to(_registered(**new))
    assert [(each.rule, each.breaks) for each in found] == expected


def test_services_that_are_removed_and_added() -> None:
    server = RpcServer(url="memory://changes")
    server.add_service(a, name="old")
    both = InterfaceDescription.of_server(server.services)
    empty = InterfaceDescription()
    (change,) = both.changes_to(empty)
    assert str(change) == "old: it was removed"
    assert change.to_json() == {"service": "old", "rule": "service-removed", "breaks": True, "text": "it was removed"}
    assert empty.changes_to(both) == ()


def test_lines_say_what_and_where() -> None:
    (change,) = described_as(takes(Larger)).changes_to(described_as(takes(list[int])))
    assert str(change) == "it: the argument 'a' no longer takes object"
    (change,) = described_as(gives(list[Small])).changes_to(described_as(gives(list[OtherTree])))
    assert change.rule == "result-widened"
    assert str(change) == "it: the result may be its absence now at [].a"


def described_as(func: Callable[..., Any]) -> InterfaceDescription:
    server = RpcServer(url="memory://changes")
    server.add_service(func, name="it")
    return InterfaceDescription.of_server(server.services)

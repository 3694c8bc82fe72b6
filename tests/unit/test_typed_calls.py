"""``client.call``: what stands for a service, and what does not."""

from __future__ import annotations

import functools
import gc
import re
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from rabibridge_core import register_call
from rabibridge_core._client import targets
from rabibridge_core._client.targets import target_of
from rabibridge_core.errors import ConfigurationError, InvalidArgumentsError
from rabibridge_core.rpc import RpcClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from rabibridge_testing import FakeBroker


@register_call
async def add(left: int, right: int = 0) -> int:
    return left + right


@register_call(name="texts.join")
def join(*parts: str, end: str = "") -> str:
    return "".join(parts) + end


async def signature(number: int) -> int:
    raise NotImplementedError


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    async def count(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @classmethod
    def make(cls, start: int) -> int:
        return cls(start).value

    @staticmethod
    def double(number: int) -> int:
        return 2 * number


class Callable_:  # noqa: N801
    async def __call__(self, number: int) -> int:
        return number


def decorated(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await func(*args, **kwargs)

    return wrapper


@register_call
@decorated
async def below(number: int) -> int:
    return number


@decorated
@register_call
async def on_top(number: int) -> int:
    return number


served_object = register_call(name="object")(Callable_())
served_partial = register_call(name="partial")(functools.partial(add, 1))


@pytest.mark.parametrize(
    ("func", "name", "kind"),
    [
        ("add", "add", "any"),
        (add, "add", "async"),
        (join, "texts.join", "sync"),
        (signature, "signature", "any"),
        (Counter().count, "count", "any"),
        (Counter.make, "make", "any"),
        (Counter.double, "double", "any"),
        (staticmethod(join), "texts.join", "sync"),
        (below, "below", "async"),
        (on_top, "on_top", "async"),
        (served_object, "object", "async"),
        (served_partial, "partial", "async"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None) or repr(value)[:30],
)
def test_what_stands_for_a_service(func: Any, name: str, kind: str) -> None:
    for _ in range(2):
        assert target_of(func)[:2] == (name, kind)
    assert target_of(func, "other")[:2] == ("other", kind)
    assert target_of(func)[:2] == (name, kind)


async def values(number: int) -> AsyncIterator[int]:
    yield number


def rows() -> Iterator[int]:
    yield 1


@register_call(name="one")
@register_call(name="two")
def several() -> None: ...


@pytest.mark.parametrize(
    ("func", "what", "way_out"),
    [
        (Counter, "Counter is a class", r"client\.service\(Counter\)"),
        (lambda: None, r"<lambda> \(.*test_typed_calls", "name="),
        (functools.partial(add, 1), "functools.partial of add", "name="),
        (Callable_(), "Callable_ object", "name="),
        (len, "len is a built-in function", r'client\.call\("len"'),
        (Counter.count, "Counter.count .* is a method without its object", r"client\.service\(Counter\)\.count"),
        (vars(Counter)["make"], "Counter.make .* is a method without its object", r"client\.service"),
        (values, "values .* is a generator function", r"client\.stream\(values, \.\.\.\)"),
        (rows, "rows .* is a generator function", r"client\.stream"),
        (several, "several .* under several names", r"name=.*'two', 'one'"),
        (MagicMock(), "MagicMock .* has no name of its own", "name="),
        (7, "7 is not callable", "the name of the service"),
        (None, "None is not callable", "the name of the service"),
    ],
)
async def test_what_stands_for_none(fake_broker: FakeBroker, func: Any, what: str, way_out: str) -> None:
    async with RpcClient() as client:
        with pytest.raises(TypeError, match=what) as refused:
            await client.call(func)
        assert re.search(way_out, str(refused.value))
    assert fake_broker.calls == []


async def test_a_coroutine_in_the_place_of_its_function(fake_broker: FakeBroker) -> None:
    async with RpcClient() as client:
        with pytest.raises(TypeError, match=r"add\(\) was called here.*client\.call\(add, \.\.\.\)"):
            await client.call(add(1, 2))  # type: ignore[call-overload] # pyright: ignore
    assert fake_broker.calls == []


async def test_options_among_the_arguments_are_explained(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    async with RpcClient() as client:
        with pytest.raises(InvalidArgumentsError) as refused:
            await client.call("add", 1, timeout=5, retry=False, other=1)
        assert "client.options(retry=..., timeout=...).call(...)" in refused.value.__notes__[-1]
        with pytest.raises(InvalidArgumentsError) as refused:
            await client.stub("add")(1, timeout=5)
        assert "client.options(timeout=...)" in refused.value.__notes__[-1]
        with pytest.raises(InvalidArgumentsError) as refused:
            await client.call("add", 1, other=1)
        assert not any("client.options" in note for note in getattr(refused.value, "__notes__", ()))


def test_a_name_that_no_service_can_have() -> None:
    with pytest.raises(ConfigurationError, match="not a service name"):
        target_of(add, "a b")


def test_functions_are_not_kept() -> None:
    def call_one() -> None:
        async def short_lived() -> None: ...

        target_of(short_lived)
        assert len(targets._known) == before + 1

    gc.collect()  # it takes what other tests have left
    before = len(targets._known)
    call_one()
    gc.collect()
    assert len(targets._known) == before


async def test_calls_by_all_of_them(fake_broker: FakeBroker) -> None:
    counter = Counter()
    for function in (add, join, counter.count, Counter.make, Counter.double, below, served_object, served_partial):
        fake_broker.add_service(function)
    async with RpcClient() as client:
        assert await client.call(add, 1, right=2) == 3
        assert await client.call("add", 1, right=2) == 3
        assert await client.call(join, "a", "b", end="!") == "ab!"
        assert await client.call(Counter().count, by=2) == 2  # the name is called, not this object
        assert await client.call(counter.count) == counter.value == 3
        assert await client.call(Counter.make, 5) == 5
        assert await client.call(Counter.double, 5) == 10
        assert await client.call(below, 5) == 5
        assert await client.call(served_object, 5) == 5
        assert await client.call(served_partial, 5) == 6


async def test_every_name_may_be_an_argument_of_the_function(fake_broker: FakeBroker) -> None:
    async def echo(
        self: int, func: int, name: int, args: int, kwargs: int, timeout: int, headers: int, retry: int, kind: int
    ) -> list[int]:
        return [self, func, name, args, kwargs, timeout, headers, retry, kind]

    fake_broker.add_service(echo)
    async with RpcClient() as client:
        given = {"self": 1, "func": 2, "name": 3, "args": 4, "kwargs": 5, "timeout": 6, "headers": 7, "retry": 8}
        for calls in (client, client.options(timeout=5)):
            assert await calls.call("echo", **given, kind=9) == list(range(1, 10))
            assert await calls.call(echo, **given, kind=9) == list(range(1, 10))

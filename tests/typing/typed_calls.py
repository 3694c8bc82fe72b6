"""Checked by mypy and pyright, both in strict mode, never run: calls of functions by the function itself."""

# pyright: strict

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar, assert_type, overload

from rabibridge import ClientView, Progress, RetryRefused, RMQClient, current_call, register_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.rpc import RpcClient

T = TypeVar("T")


@register_call
async def add(a: int, b: int = 0) -> int:
    return a + b


@register_call(queue_size=10)
def join(first: str, /, *rest: str, end: str = "", **named: int) -> str:
    return first + "".join(rest) + end + "".join(named)


async def ours(
    timeout: float, headers: str, self: int, func: int, name: str, args: list[int], kwargs: int, kind: int, retry: int
) -> list[int]:
    return [self, func, kwargs, kind, retry, *args] if timeout and headers and name else []


def first(values: list[T]) -> T:
    return values[0]


async def later(values: list[T]) -> T:
    return values[0]


@overload
def negated(value: int) -> int: ...
@overload
def negated(value: str) -> str: ...
def negated(value: int | str) -> int | str:
    return -value if isinstance(value, int) else value[::-1]


async def nothing() -> None: ...


async def numbers(count: int) -> AsyncIterator[int]:
    yield count


class Counter:
    async def count(self, by: int = 1) -> int:
        return by

    def name(self, *, upper: bool) -> str:
        return "COUNTER" if upper else "counter"

    @classmethod
    async def made(cls, by: int) -> float:
        return by

    @staticmethod
    def doubled(number: int) -> float:
        return 2 * number


class CallableObject:
    async def __call__(self, number: int) -> bytes:
        return bytes(number)


async def results_have_the_types_of_the_functions(client: RMQClient) -> None:
    assert_type(await client.call(add, 1, 2), int)
    assert_type(await client.call(add, a=1), int)
    assert_type(await client.call(join, "a"), str)
    assert_type(await client.call(join, "a", "b", "c", end="!", more=1), str)
    assert_type(await client.call(nothing), None)
    assert_type(await client.call("add", 1, timeout=2, func=3, self=4), Any)
    assert_type(await client.call(first, [1.5]), float)
    assert_type(await client.call(later, ["a"]), str)
    assert_type(await client.call(negated, 1), int)
    assert_type(await client.call(negated, "a"), str)
    assert_type(await client.call(Counter().count), int)
    assert_type(await client.call(Counter().count, by=2), int)
    assert_type(await client.call(Counter().name, upper=True), str)
    assert_type(await client.call(Counter.made, 1), float)
    assert_type(await client.call(Counter.doubled, 1), float)
    assert_type(await client.call(CallableObject(), 1), bytes)
    assert_type(await client.call(functools.partial(add, 1)), int)
    assert_type(await client.call(functools.partial(add, 1), 2), int)


async def all_arguments_belong_to_the_function(client: RMQClient) -> None:
    result = await client.call(
        ours, timeout=1.5, headers="", self=1, func=2, name="", args=[3], kwargs=4, kind=5, retry=6
    )
    assert_type(result, list[int])
    await client.call(ours, 1.5, "", 1, 2, "", [3], 4, 5, retry=6)


async def views_call_like_their_client(client: RpcClient) -> None:
    view = client.options(
        kind="any", timeout=1.5, idempotent=True, idempotency_key="a", persistent=True, inherit_deadline=False,
        retry=RetryRefused(), headers={"tenant": "a", "size": 1}, criticality="batch",
    )  # fmt: skip
    assert_type(view, ClientView)
    assert_type(view.options(retry=False), ClientView)
    assert_type(await view.call(add, 1, 2), int)
    assert_type(await view.remote_call("add", (1, 2)), Any)
    assert_type(await view.try_remote_call("add", [1], {"b": 2}, "sync"), tuple[bool, tuple[int, Any]])


async def wrong_arguments_are_errors(client: RMQClient) -> None:
    await client.call(add)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.call(add, "1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.call(add, 1, 2, 3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.call(add, 1, c=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.call(add, 1, timeout=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.call(join, first="a")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.call(join, "a", end=1)  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.call(negated, 1.5)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.call(Counter().name, True)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.call(7)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    total: str = await client.call(add, 1)  # type: ignore[call-overload] # pyright: ignore[reportAssignmentType]
    del total


def wrong_options_are_errors(client: RMQClient) -> None:
    client.options(timout=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.options(timeout="1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.options(kind="both")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.options(retry=True)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.options(criticality=7)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def take(progress: Progress) -> None:
    assert_type(progress.fraction, float | None)
    assert_type(progress.text, str)


async def take_later(progress: Progress) -> bool:
    return bool(progress.text)


async def progress(client: RMQClient) -> None:
    assert_type(await client.options(on_progress=take).call(add, 1), int)
    assert_type(await client.options(on_progress=take_later).call(add, 1), int)
    assert_type(await client.stub(add, on_progress=take_later)(1), int)
    client.options(on_progress=lambda report: report.fraction)
    client.options(on_progress="print")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    current_call().progress(0.4, "rows read")
    current_call().progress(text="rows read")
    current_call().progress("0.4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

"""Checked by mypy and pyright, both in strict mode, never run: stubs."""

# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, assert_type

from rabibridge import RMQClient, Stub, register_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import ClientView

T = TypeVar("T")


@register_call
async def add(a: int, b: int = 0) -> int:
    return a + b


@register_call(queue_size=10)
def join(first: str, /, *rest: str, end: str = "") -> str:
    return first + "".join(rest) + end


def first(values: list[T]) -> T:
    return values[0]


async def later(values: list[T]) -> T:
    return values[0]


class Counter:
    def name(self, *, upper: bool) -> str:
        return "COUNTER" if upper else "counter"


async def stubs_have_the_signatures_of_the_functions(client: RMQClient, view: ClientView) -> None:
    stub = client.stub(add, timeout=2.0, idempotent=True, retry=False, kind="async", headers={"tenant": "a"})
    assert_type(await stub(1, b=2), int)
    assert_type(await view.stub(join, name="other", validate=False)("a", "b", end="!"), str)
    assert_type(await client.stub(Counter().name)(upper=True), str)
    assert_type(await client.stub(later)([1.5]), float)
    assert_type(await client.stub("add")(1, anything=2), Any)
    assert_type(await stub.options(timeout=1)(1), int)
    assert_type(await stub.bind(client)(1), int)
    assert_type(await client.call(stub, 1, b=2), int)
    assert_type(await client.call(client.stub(join), "a"), str)
    assert_type(await client.stub(stub)(1), int)
    as_a_callable: Callable[[int, int], Awaitable[int]] = stub
    kept: Stub[[int, int], int] = stub
    del as_a_callable, kept


async def wrong_arguments_are_errors(client: RMQClient) -> None:
    stub = client.stub(add)
    await stub("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await stub(1, c=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await stub()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await stub.options(timeout=1)(1, timeout=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.stub(join)(first="a")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    total: str = await stub(1)  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    stub.options(timout=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    stub.options(timeout="1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.stub(add, timout=1)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    client.stub(add, persistent="yes")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]
    client.stub(7)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]
    stub.bind("client")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    del total


async def a_generic_def_has_no_typed_stub_for_mypy(client: RMQClient) -> None:
    await client.stub(first)([1])  # type: ignore[arg-type, misc]
    assert_type(await client.call(first, [1]), int)

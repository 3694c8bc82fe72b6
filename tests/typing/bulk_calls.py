"""Checked by mypy and pyright, never run: bulks of calls, and errors that services declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from rabibridge import RemoteExecutionError, RMQClient, RMQServer, ServiceError, register_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class OutOfStock(ServiceError, code="out_of_stock"):
    sku: str
    left: int = 0


class ShopError(ServiceError):
    shop: str


class Closed(ShopError, code="closed", kw_only=True):
    days: list[str]


@register_call(raises=(OutOfStock, Closed))
async def double(number: int) -> float:
    return 2.0 * number


def length(text: str, *, strip: bool = False) -> int:
    return len(text.strip() if strip else text)


async def add(left: int, right: float) -> str:
    return str(left + right)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def results_have_the_types_of_the_function(client: RMQClient) -> None:
    async for result in client.map(double, [1, 2], concurrency=8, ordered=False):
        assert_type(result, float)
    async for size in client.options(timeout=1.0).map(length, {"a", "b"}):
        assert_type(size, int)
    async for result in client.map(double, numbers()):
        assert_type(result, float)
    async for outcome in client.map(double, (1, 2), return_exceptions=True):
        assert_type(outcome, float | Exception)
    async for text in client.starmap(add, [(1, 2.0)]):
        assert_type(text, str)
    async for either in client.starmap(add, [(1, 2.0)], return_exceptions=True):
        assert_type(either, str | Exception)
    async for anything in client.map("double", [1]):
        assert_type(anything, Any)
    kept: AsyncGenerator[float] = client.map(double, [1])
    await kept.aclose()


def wrong_inputs_are_errors(client: RMQClient) -> None:
    client.map(double, ["text"])  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.map(double, 17)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.map(add, [1])  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.starmap(add, [(1, "x")])  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.starmap(add, [(1,)])  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.map(double, [1], timeout=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


def errors_are_dataclasses(error: OutOfStock, unknown: RemoteExecutionError) -> None:
    assert_type(OutOfStock("A", left=2), OutOfStock)
    assert_type(error.sku, str)
    assert_type(error.code, str)
    assert_type(error.fields, dict[str, Any])
    assert_type(error.func_name, str)
    assert_type(unknown.code, str | None)
    assert_type(unknown.fields, dict[str, Any])
    Closed(shop="north", days=[])
    OutOfStock()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    OutOfStock(17)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    OutOfStock("A", size=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Closed("north", [])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def what_is_listed(server: RMQServer) -> None:
    server.add_service(length, raises=(OutOfStock,))
    server.add_service(length, raises=OutOfStock)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]
    server.add_service(length, raises=(KeyError,))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

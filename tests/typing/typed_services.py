"""Checked by mypy and pyright, both in strict mode, never run: service classes and their proxies."""

# pyright: strict

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, assert_type

from rabibridge import RMQClient, RMQServer, ServiceSchema, register_call, service

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rabibridge import ClientView

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@service
class Math:
    def __init__(self, start: int = 0) -> None:
        self.start = start

    async def add(self, a: int, b: int = 0) -> int:
        return self.start + a + b

    def halve(self, number: int, *, timeout: float = 0) -> float:
        return number / 2 + timeout

    @classmethod
    async def made(cls, start: int) -> float:
        return cls(start).start

    @staticmethod
    async def doubled(number: int) -> float:
        return 2 * number

    @register_call(fetch_size=1)
    async def slow(self, text: str, /) -> str:
        return text


@service(name="math", version="2", queue_size=100, timeout=5.0, delivery="at-most-once")
class MathProtocol(Protocol):
    async def add(self, a: int, b: int = 0) -> int: ...

    def halve(self, number: int) -> Awaitable[float]: ...

    @property
    def size(self) -> int: ...


class Abstract(ABC):
    @abstractmethod
    async def add(self, a: int) -> int: ...


class Store(Protocol[T_co]):
    async def get(self, key: str) -> T_co: ...


@service
class Generics(Generic[T]):
    async def echo(self, value: T) -> T:
        return value


async def a_proxy_has_the_type_of_the_class(client: RMQClient, view: ClientView) -> None:
    math = client.service(Math, timeout=2.0, idempotent=True)
    assert_type(math, Math)
    assert_type(await math.add(1, b=2), int)
    assert_type(await math.made(1), float)
    assert_type(await math.doubled(1), float)
    assert_type(await math.slow("a"), str)
    assert_type(await client.call(math.halve, 1), float)
    assert_type(await client.call(math.add, 1, b=2), int)
    assert_type(await client.call(Math().add, 1, b=2), int)
    assert_type(await client.stub(math.halve)(1, timeout=2), float)
    assert_type(await view.service(MathProtocol, name="math", version=3, validate=False).add(1, 2), int)
    assert_type(await view.service(MathProtocol).halve(1), float)
    assert_type(await client.service(Abstract).add(1), int)
    store: Store[int] = client.service(Store[int])
    assert_type(await store.get("a"), int)


async def wrong_arguments_are_errors(client: RMQClient) -> None:
    math = client.service(Math)
    await math.add("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await math.add(1, c=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await math.nothing(1)  # type: ignore[attr-defined] # pyright: ignore
    await math.halve(1)  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
    await client.call(math.halve, "1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.call(Math.add, 1, 2)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.service(Math, timout=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.service(Math())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.service("Math")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    as_text: str = await math.add(1)  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    del as_text


def a_decorated_class_stays_the_class(server: RMQServer) -> None:
    assert_type(Math(1), Math)
    assert_type(Math(1).start, int)
    assert_type(server.add_service(Math()), tuple[ServiceSchema, ...])
    assert_type(server.add_service(Math(), name="math", queue_size=5), tuple[ServiceSchema, ...])
    assert_type(server.add_service(Math().add, 5), ServiceSchema)
    assert_type(server.add_service(Generics[int]()), tuple[ServiceSchema, ...])
    Math("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    server.add_service(Math(), queue_sise=5)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


def wrong_arguments_of_the_decorator(anything: Any) -> None:
    service(queue_size="10")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    service(version=1.5)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    service("math")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]

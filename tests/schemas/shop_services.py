"""Services with the types, parameters and names that documents and stubs must cope with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - the annotations are read
from dataclasses import dataclass, field
from datetime import date, datetime  # noqa: TC003
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID  # noqa: TC003

from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypedDict

from rabibridge import ServiceError, register_call, service

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Item:
    '''One item: "quoted", with \\ and a \N{DEGREE SIGN}, and """three""".'''

    sku: str
    price: Decimal
    due: date | None = None
    tags: list[str] = field(default_factory=list)
    colour: Colour = Colour.RED


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Even(BaseModel):
    odd: Odd | None = None


class Odd(BaseModel):
    even: Even | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]


class Hit(TypedDict):
    name: str
    score: NotRequired[float]


class Awkward(BaseModel):
    klass: int = Field(alias="class")
    values: list[float] = Field(alias="list")
    int: str


class OutOfStock(ServiceError, code="shop.out_of_stock"):
    sku: str
    left: int = 0


@register_call(raises=(OutOfStock,), validate=True, queue_size=100)
async def total(items: list[Item], discount: float = 0.0, *, rate: Decimal = Decimal("1.5")) -> Decimal:
    """Return the price of all items.

    The second paragraph ends with a quote: "
    """
    if items and items[0].sku == "none":
        raise OutOfStock("none", 3)
    return sum((item.price for item in items), Decimal(0)) * rate * (1 - Decimal(discount))


@register_call(validate=True)
def tree(depth: int) -> Node:
    return Node(value=depth, children=[tree(depth - 1)] if depth else [])


@register_call
async def pages(even: Even | None = None) -> tuple[Page[int], Page[str], Even | None]:
    return Page[int](items=[1]), Page[str](items=["a"]), even


@register_call
async def count(items: int, /, step: int = 1) -> AsyncIterator[Item]:
    for number in range(0, items, step):
        yield Item(str(number), Decimal(number))


@register_call
def rows(n: int) -> Iterator[tuple[int, str]]:
    for number in range(n):
        yield number, "x"


@register_call
async def added(numbers: AsyncIterator[int], start: int = 0) -> int:
    return start + sum([number async for number in numbers])


@register_call(name="call")
async def call_(
    timeout: int,
    client: str = "x",
    headers: dict[str, Any] | None = None,
    **kwargs: int,
) -> dict[str, Any]:
    return {"timeout": timeout, "client": client, "headers": headers, **kwargs}


@register_call(name="class")
async def klass(int: int, list: list[int], str: Colour | None = None, _x: int = 0) -> Literal["a", 1]:
    return "a"


@register_call(name="odd-one")
async def odd_one(o: Awkward, hit: Hit, secret: SecretStr = SecretStr("hunter2")) -> set[UUID]:  # noqa: B008
    return set()


@register_call
async def when(at: datetime, data: bytes = b"x") -> tuple[datetime, ...]:
    return (at, at)


@service(name="orders.v2", queue_size=3)
class Orders:
    async def price(self, item: str, count: int = 1) -> float:
        return 2.5 * count

    def list(self, year: int) -> list[Item]:
        return [Item("a", Decimal(year))]

    async def each(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @register_call(name="import")
    async def import_(self, client: int) -> int:
        return client


orders = Orders()

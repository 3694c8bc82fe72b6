"""What callers and workers of the shop share: signatures, types and errors, and no implementation."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from rabibridge import ServiceError, service


class Receipt(NamedTuple):
    item: str
    amount: int
    price: float


class OutOfStock(ServiceError, code="out_of_stock"):
    item: str
    left: int


@service(name="shop", version="1", queue_size=1000, raises=(OutOfStock,))
class Shop(Protocol):
    async def stock(self) -> dict[str, int]: ...

    async def buy(self, item: str, count: int = 1) -> Receipt: ...

"""Serves the shop until SIGTERM or Ctrl-C, on the broker that RABIBRIDGE_URL names."""

from __future__ import annotations

import asyncio

from rabibridge import RMQServer
from shop_api import OutOfStock, Receipt, Shop


class ShopInMemory(Shop):
    def __init__(self, stock: dict[str, int], prices: dict[str, float]) -> None:
        self._stock = stock
        self._prices = prices

    async def stock(self) -> dict[str, int]:
        return self._stock

    async def buy(self, item: str, count: int = 1) -> Receipt:
        left = self._stock.get(item, 0)
        if left < count:
            raise OutOfStock(item=item, left=left)
        self._stock[item] = left - count
        return Receipt(item, count, count * self._prices[item])


async def main() -> None:
    server = RMQServer()
    server.add_service(ShopInMemory({"tea": 3, "cup": 1}, {"tea": 2.5, "cup": 4.0}))
    async with server:
        print("The shop is open.", flush=True)
        await server.run_serve()


if __name__ == "__main__":
    asyncio.run(main())

"""Buys in the shop. It imports the interface alone; mypy and pyright check every call."""

from __future__ import annotations

import asyncio

from rabibridge import RMQClient
from shop_api import OutOfStock, Shop


async def main() -> None:
    async with RMQClient() as client:
        shop = client.service(Shop, timeout=10.0)
        receipt = await shop.buy("tea", count=2)
        print(f"{receipt.amount} x {receipt.item}: {receipt.price:.2f}")
        try:
            await shop.buy("tea", count=2)
        except OutOfStock as error:
            print(f"there is only {error.left} {error.item} left")
        print(await client.options(idempotent=True).call(shop.stock))


if __name__ == "__main__":
    asyncio.run(main())

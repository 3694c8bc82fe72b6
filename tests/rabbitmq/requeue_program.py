"""Requeues all dead letters of the virtual host in RABIBRIDGE_URL, and says when it begins."""

from __future__ import annotations

import asyncio
import os

from tests.rabbitmq.operators import operator


async def main() -> None:
    async with operator(os.environ["RABIBRIDGE_URL"]) as letters:
        print('{"ready": true}', flush=True)
        await letters.requeue()


if __name__ == "__main__":
    asyncio.run(main())

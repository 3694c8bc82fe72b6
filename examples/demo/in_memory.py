"""Server and client in one process, for a demo without RabbitMQ: RABIBRIDGE_URL=memory://."""

from __future__ import annotations

import asyncio

import client
import server


async def main() -> None:
    async with server.make_server().serving():
        await client.main()


if __name__ == "__main__":
    asyncio.run(main())

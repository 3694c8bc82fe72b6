"""Offer the services until SIGTERM or Ctrl-C; the broker is the one that RABIBRIDGE_URL names."""

from __future__ import annotations

import asyncio

import services
from rabibridge import RMQServer


def make_server() -> RMQServer:
    server = RMQServer()
    server.load_services(vars(services))
    return server


async def main() -> None:
    async with make_server() as server:
        # The queues exist from here on: whoever reads this line may call.
        print("The server is ready.", flush=True)
        await server.run_serve()


if __name__ == "__main__":
    asyncio.run(main())

"""Serves until SIGTERM or Ctrl-C, on the broker that RABIBRIDGE_URL names."""

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
        # The queues exist now: clients can call from here on.
        print("The server is ready.", flush=True)
        await server.run_serve()


if __name__ == "__main__":
    asyncio.run(main())

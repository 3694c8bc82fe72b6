# service.py
import asyncio

from rabibridge import RMQServer, register_call


@register_call(queue_size=100, fetch_size=10, timeout=5)
async def add(a: int, b: int) -> int:
    return a + b


async def main() -> None:
    server = RMQServer()  # connects to the broker that RABIBRIDGE_URL names
    server.load_services(globals())
    async with server:
        print("Serving add. Stop with Ctrl-C.", flush=True)
        await server.run_serve()


if __name__ == "__main__":
    asyncio.run(main())

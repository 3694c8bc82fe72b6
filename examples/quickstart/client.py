# client.py
import asyncio

from rabibridge import RemoteExecutionError, RMQClient


async def main() -> None:
    async with RMQClient() as client:
        print(await client.remote_call("add", (1, 2), timeout=5))
        try:
            await client.remote_call("add", (1, "two"), timeout=5)
        except RemoteExecutionError as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(main())

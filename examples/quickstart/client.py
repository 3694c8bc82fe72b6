# client.py
import asyncio

from rabibridge import RemoteExecutionError, RMQClient
from service import add


async def main() -> None:
    async with RMQClient() as client:
        print(await client.call(add, 1, 2))  # an int, for type checkers too
        try:
            await client.options(timeout=5).call("add", 1, "two")
        except RemoteExecutionError as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(main())

"""A client of this or of the previous version: makes one call of every kind, and writes what came of it as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from rabibridge import CallError, InvalidArgumentsError, NoRouteError, RemoteExecutionError, RMQClient

config = json.loads(sys.argv[1])
PATIENCE = 60


async def main() -> None:
    async with RMQClient(url=config["url"]) as client:

        async def call(name: str, *args: Any, ftype: Any = "async", **options: Any) -> Any:
            options = {"timeout": PATIENCE, **options}
            return await client.remote_call(config["prefix"] + name, args, options.pop("kwargs", {}), ftype, **options)

        async def failure(expected: type[CallError], name: str, *args: Any) -> list[Any]:
            try:
                await call(name, *args)
            except expected as error:
                found: list[Any] = [type(error).__name__, error.executed]
                if isinstance(error, RemoteExecutionError):
                    found += [error.error_type, error.error_message if "TypeError" not in error.error_type else ""]
                return found
            return ["no error"]

        async def everywhere(name: str, *args: Any) -> list[Any]:
            for seconds in (5, 20, PATIENCE):  # a slow machine may take longer
                broadcast = client.options(timeout=seconds).broadcast(config["prefix"] + name, *args)
                if found := [reply.result async for reply in broadcast]:
                    return found
            return []

        large = "x" * 3_000_000
        held = asyncio.create_task(call("hold"))
        outcomes = {
            "result": await call("add", 1, 2, kwargs={"times": 3}),
            "large": await call("add", large, large) == large + large,
            "sync": await call("add_sync", 1, 2, ftype="sync"),
            "any kind": await call("add_sync", 1, 2, ftype=config["any"]),
            "many": await asyncio.gather(*(call("add", number, 1) for number in range(200))) == list(range(1, 201)),
            "error": await failure(RemoteExecutionError, "boom"),
            "arguments": await failure(InvalidArgumentsError, "add", 1),
            "declared": await failure(RemoteExecutionError, "declared", "A-17"),
            "no service": await failure(NoRouteError, "nowhere"),
            "one run for a key": [await call("count", idempotency_key="one") for _ in range(3)],
            "idempotent": [await call("count", idempotent=True) for _ in range(2)],
            "persistent": await call("add", 3, 4, persistent=True),
            "deadline": await call("time_left"),
            "broadcast": await everywhere("add", 1, 2),
        }
        await client.options(timeout=PATIENCE).notify(config["prefix"] + "notice")
        outcomes["notified"] = await call("was_notified")
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        outcomes["cancelled on the worker"] = await call("was_cancelled")
        print(json.dumps(outcomes), flush=True)


asyncio.run(main())

"""A client of RabiBridge 0.1.2: makes the calls that it reads from stdin and writes how they end.

In: ``{"id": 1, "name": ..., "args": [...], "kwargs": {...}, "kind": "async"}``; only the first two must be there. Out:
``{"id": 1, "result": ...}`` or ``{"id": 1, "errors": [names of the exception's classes], "text": ...}``, and first
``{"event": "ready"}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

output, sys.stdout = sys.stdout, sys.stderr  # 0.1.2 logs to stdout, as it was when it was imported

from rabibridge import RMQClient  # noqa: E402 - see above


def write(message: dict[str, Any]) -> None:
    print(json.dumps(message), file=output, flush=True)


async def call(client: RMQClient, wanted: dict[str, Any]) -> None:
    try:
        result = await client.remote_call(
            wanted["name"], wanted.get("args", []), wanted.get("kwargs", {}), wanted.get("kind", "async"), timeout=30
        )
    except Exception as error:  # noqa: BLE001 - which one is what the test wants to know
        errors = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__]
        write({"id": wanted["id"], "errors": errors, "text": str(error)})
    else:
        write({"id": wanted["id"], "result": result})


async def main() -> None:
    config = json.loads(sys.argv[1])
    async with RMQClient(**config) as client, asyncio.TaskGroup() as calls:
        write({"event": "ready"})
        while line := await asyncio.to_thread(sys.stdin.readline):
            calls.create_task(call(client, json.loads(line)))


asyncio.run(main())

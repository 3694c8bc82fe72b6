"""A caller process of the chaos tests: it makes calls that take long, says so, and is there to be killed.

The environment gives RABIBRIDGE_URL, CHAOS_FIRST, the id of the first call, and how many of each kind: CHAOS_NEVER of
the service ``never``, CHAOS_LASTING persistent ones of the service ``work``.
"""

from __future__ import annotations

import asyncio
import json
import os

from rabibridge import RMQClient


async def main() -> None:
    first = int(os.environ["CHAOS_FIRST"])
    never, lasting = int(os.environ["CHAOS_NEVER"]), int(os.environ["CHAOS_LASTING"])
    async with RMQClient() as client, asyncio.TaskGroup() as calls:
        for call_id in range(first, first + never):
            calls.create_task(client.remote_call("never", (call_id, "", 0.0)))
        for call_id in range(first + never, first + never + lasting):
            calls.create_task(client.remote_call("work", (call_id, "", 2.0), timeout=120, persistent=True))
        print(json.dumps({"ready": os.getpid()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())

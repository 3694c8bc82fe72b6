"""A client of this or of the previous version: calls what its argument lists, and writes how each call ends as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

from rabibridge import CallError, RMQClient

config = json.loads(sys.argv[1])


async def main() -> None:
    async with RMQClient(url=config["url"]) as client:
        for name, args, kind in config["calls"]:
            try:
                found = ["no error", await client.options(kind=kind, timeout=60).call(name, *args)]
            except CallError as error:
                names = [cls.__name__ for cls in type(error).__mro__[:-3]]
                found = [names, error.executed, getattr(error, "error_type", ""), str(error)]
            print(json.dumps(found), flush=True)


asyncio.run(main())

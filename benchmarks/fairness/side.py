"""One process: ``python -m benchmarks.fairness.side serve|call URL NAME OPTIONS``, with the options as JSON.

It writes a line when it is ready. ``serve`` serves until its input ends. ``call`` makes, for each line of input, a load
of each of its clients, each with a connection of its own, and writes the outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.contenders.base import RefusedError
from benchmarks.fairness.terms import FETCH_SIZE, QUEUE_SIZE, TIMEOUT, work
from benchmarks.overload.flood import Flood, arrivals
from benchmarks.usage import cpu_seconds
from rabibridge import QueueFullError, RMQClient, RMQServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def serve(url: str, name: str, options: dict[str, Any]) -> None:
    """Serve the function with its sizes, and these further options."""
    server = RMQServer(url=url)
    server.add_service(work, QUEUE_SIZE, FETCH_SIZE, name=name, **options)
    async with server.serving():
        before = cpu_seconds()
        print(json.dumps({"ready": True}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"cpu": cpu_seconds() - before}), flush=True)


async def call(url: str, name: str, options: dict[str, Any]) -> None:
    """Call it at the rates that the options list, one for each client."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RMQClient(url=url)) for _ in options["rates"]]
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            seconds = json.loads(line)["seconds"]
            floods = []
            for number, (client, rate) in enumerate(zip(clients, options["rates"], strict=True)):
                moments = arrivals(rate, seconds, f"{options['seed']} {number}")
                floods.append((moments, Flood(_caller(client, name), moments)))
            await asyncio.gather(*(flood.run(seconds, patience=TIMEOUT) for _, flood in floods))
            told = [
                {"due": moments, "ended": list(flood.ended), "outcomes": flood.outcomes.decode()}
                for moments, flood in floods
            ]
            print(json.dumps(told), flush=True)


def _caller(client: RMQClient, name: str) -> Callable[[int], Coroutine[Any, Any, Any]]:
    async def one(number: int) -> Any:
        try:
            return await client.remote_call(name, (number,), timeout=TIMEOUT)
        except QueueFullError as full:
            raise RefusedError from full

    return one


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # so that logging thousands of lines does not distort the figures
    _role, _url, _name, _options = sys.argv[1:]
    uvloop.run({"serve": serve, "call": call}[_role](_url, _name, json.loads(_options)))

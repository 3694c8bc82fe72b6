"""What it costs that requests name their user: ``python -m benchmarks.identify``.

One client names the user and one does not. They take turns with one server, so that whatever else the machine does
strikes both alike; medians over all turns are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.brokers import broker_to_measure
from rabibridge import RMQClient, RMQServer
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

_CALLS_A_TURN = 2_000
_IN_FLIGHT = 64


class Turn(NamedTuple):
    """One turn: seconds for a call, and processor seconds of both processes for a call."""

    elapsed: float
    client: float
    server: float


async def echo(value: int) -> int:
    """Return its argument."""
    return value


def _serve(url: str, ready: Connection) -> None:
    async def run() -> None:
        server = RMQServer(url=url)
        server.add_service(echo)
        async with server.serving():
            ready.send(True)
            await asyncio.Event().wait()

    asyncio.run(run())


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


async def _turn(client: RMQClient, server: int, calls: int) -> Turn:
    async def caller(count: int) -> None:
        for number in range(count):
            await client.remote_call("echo", (number,), timeout=60)

    began, used, served = time.perf_counter(), time.process_time(), _processor_time(server)
    await asyncio.gather(*(caller(calls // _IN_FLIGHT) for _ in range(_IN_FLIGHT)))
    count = calls // _IN_FLIGHT * _IN_FLIGHT
    return Turn(
        (time.perf_counter() - began) / count,
        (time.process_time() - used) / count,
        (_processor_time(server) - served) / count,
    )


async def measure(url: str, server: int, turns: int, calls: int = _CALLS_A_TURN) -> tuple[list[Turn], list[Turn]]:
    """Return the turns of a client without a user, and of one with a user."""
    settings = load_settings(url=url)
    async with (
        RMQClient(settings=replace(settings, identify=False)) as nameless,
        RMQClient(settings=replace(settings, identify=True)) as named,
    ):
        for client in (nameless, named):
            await _turn(client, server, calls)  # warms up
        without: list[Turn] = []
        with_user: list[Turn] = []
        for number in range(turns):
            pair = ((nameless, without), (named, with_user))
            for client, found in pair if number % 2 else reversed(pair):
                found.append(await _turn(client, server, calls))
        return without, with_user


def _print(without: Sequence[Turn], with_user: Sequence[Turn]) -> None:
    for place, what in enumerate(("time for a call", "processor time of the client", "processor time of the server")):
        before, after = (median(turn[place] for turn in turns) for turns in (without, with_user))
        cost = median(two[place] / one[place] for one, two in zip(without, with_user, strict=True)) - 1
        print(f"{what:<30} {before * 1e6:8.1f} us without, {after * 1e6:8.1f} us with a user, {cost:+.1%}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identify", description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="turns of each client")
    options = parser.parse_args()
    with broker_to_measure() as broker:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=_serve, args=(broker.url, theirs), daemon=True)
        server.start()
        ours.recv()
        assert server.pid is not None
        _print(*asyncio.run(measure(broker.url, server.pid, options.turns)))
        server.terminate()
        server.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())

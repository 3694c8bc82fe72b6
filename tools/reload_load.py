"""Reload a supervised server under load, on a private node: ``python -m tools.reload_load``.

Calls are offered at a fixed rate, whether or not earlier ones have been answered, while SIGHUP replaces the workers
again and again. The exit status is 0 if every call was answered and every reload took place, 1 if not, and 2 if all of
that holds, but this machine could not offer calls at the rate that was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rabibridge import RMQClient
from tests.workers.support import Program, Supervised
from tools.broker import provide_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing._servers.base import Broker

_ENOUGH = 0.98
"""A run that has offered less than this share of the rate does not show what was asked."""
_LATE = 1.0
"""A run in which a call was made so many seconds late tells nothing about latencies."""
_CALL_TIMEOUT = 30.0
_LULL = 0.5
"""Seconds of load before the first reload and after each of them."""


@dataclass(slots=True)
class Outcome:
    """What happened to the calls.

    Attributes:
        offered: how many calls were made.
        seconds: for how long.
        latencies: how long those took that were answered, from the moment at which each was due, in seconds.
        failures: how many calls ended with each error.
        workers: the processes that have answered.
        behind: by how many seconds a call was late when it was made, at most.
    """

    offered: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    workers: set[int] = field(default_factory=set)
    behind: float = 0.0

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies, in seconds."""
        took = sorted(self.latencies)
        return took[min(len(took) - 1, len(took) * percent // 100)] if took else 0.0

    def __str__(self) -> str:
        """Show what counts, for the terminal."""
        errors = ", ".join(f"{count} x {error}" for error, count in self.failures.most_common())
        return (
            f"{self.offered} calls in {self.seconds:.1f} s, {self.offered / self.seconds:.0f}/s; "
            f"answered by {len(self.workers)} processes\n"
            f"failed = {self.failures.total()}{f' ({errors})' if errors else ''}\n"
            f"p50 {self.percentile(50) * 1e3:.1f} ms, p99 {self.percentile(99) * 1e3:.1f} ms, "
            f"max {self.percentile(100) * 1e3:.1f} ms; the latest call was made {self.behind * 1e3:.1f} ms late"
        )


async def offer(client: RMQClient, rate: float, stopped: asyncio.Event) -> Outcome:
    """Make calls at a fixed rate until ``stopped``, and wait until each of them has ended."""
    outcome = Outcome()
    began = perf_counter()
    async with asyncio.TaskGroup() as calls:
        while not stopped.is_set():
            due = began + outcome.offered / rate
            if (early := due - perf_counter()) > 0:
                await asyncio.sleep(early)
            outcome.behind = max(outcome.behind, perf_counter() - due)
            calls.create_task(_call(client, due, outcome))
            outcome.offered += 1
            if outcome.offered % 50 == 0:
                await asyncio.sleep(0)  # a generator that is late must not keep the replies from being read
        outcome.seconds = perf_counter() - began
    return outcome


async def _call(client: RMQClient, due: float, outcome: Outcome) -> None:
    try:
        outcome.workers.add(await client.remote_call("pid", timeout=_CALL_TIMEOUT))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
        outcome.failures[type(error).__name__] += 1
    else:
        outcome.latencies.append(perf_counter() - due)


async def reload_under_load(program: Program, *, rate: float, workers: int, reloads: int) -> Outcome:
    """Start workers, reload them so often while calls come in, and stop them.

    Raises:
        AssertionError: a reload did not take place, or a worker did not end as it should.
    """
    with program.command("services.py", "--workers", str(workers)) as running:
        await running.serves(workers)
        async with RMQClient(url=program.url) as client:
            stopped = asyncio.Event()
            offering = asyncio.create_task(offer(client, rate, stopped))
            try:
                await asyncio.sleep(_LULL)
                for number in range(1, reloads + 1):
                    await _reload(running, number, workers)
                    await asyncio.sleep(_LULL)
            finally:
                stopped.set()
                outcome = await offering
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.log
    return outcome


async def _reload(running: Supervised, number: int, workers: int) -> None:
    before = running.workers
    running.send(signal.SIGHUP)
    await running.logged(": reloaded\n", number)
    after = running.workers
    assert len(after) == workers, running.log
    assert not before & after, running.log
    if sys.stderr.isatty():
        print(f"\rreload {number}", end="", file=sys.stderr, flush=True)


@contextmanager
def _program(node: Broker) -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="rabibridge-reload-") as folder:
        program = Program(Path(folder), node.fresh_vhost())
        try:
            yield program
        finally:
            program.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.reload_load", description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="calls a second (default: 500)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: 2)")
    parser.add_argument("--reloads", type=int, default=10, help="how often they are replaced (default: 10)")
    options = parser.parse_args(arguments)
    node = provide_node(allow_install=True)
    if node is None:
        print("No RabbitMQ: install rabbitmq-server or Docker.", file=sys.stderr)
        return 1
    print(f"{options.rate:g} calls/s, {options.workers} workers, {options.reloads} reloads", flush=True)
    with node, _program(node) as program:
        outcome = asyncio.run(
            reload_under_load(program, rate=options.rate, workers=options.workers, reloads=options.reloads)
        )
    print(outcome)
    if outcome.failures:
        return 1
    if outcome.behind > _LATE:
        print(
            "This machine was busy with something else: the latencies show that, and not the reloads.", file=sys.stderr
        )
    if outcome.offered < _ENOUGH * options.rate * outcome.seconds:
        print("This machine could not offer calls at that rate: nothing is shown for it.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

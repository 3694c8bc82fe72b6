"""The soak itself: rounds of load and faults, each followed by a look at every call and every stream."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.chaos.rig import Rig
from tools.soak.faults import FAULTS
from tools.soak.field import Field
from tools.soak.figures import Comparison, Figures, resident
from tools.soak.plans import ERRORS
from tools.soak.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.chaos.broker import ChaosBroker
    from tests.chaos.ledger import Entry
    from tools.soak.field import FieldLoad
    from tools.soak.streams import StreamEntry

__all__ = ["soak"]

_HEARTBEAT = 2
_AT_ONCE = 2
_CALLERS, _READERS = 25, 2
_WARMING_ROUNDS, _MEASURED_ROUNDS, _WINDOWS, _WINDOW = 2, 3, 3, 3.0
"""How many rounds come before those that count, how many count, and windows in each, of how many seconds."""
_ATTEMPTS = 3
"""How often the figures after the last fault are taken while they are too bad: what the faults have left stays bad."""
_SHOWN = 10


async def soak(
    chaos_broker: ChaosBroker,
    folder: Path,
    *,
    seconds: float,
    seed: int,
    say: Callable[[str], None] = print,
    tally: Tally | None = None,
    compare: bool = False,
    callers: int = _CALLERS,
) -> Tally:
    """Break things at random for the given number of seconds.

    Args:
        chaos_broker: the broker; it is killed now and then.
        folder: for what the processes write.
        seconds: how long; the last round is finished.
        seed: makes the same faults in the same order.
        say: is told of every round, and of each call that broke a promise.
        tally: to which every round that has ended is added, so that it is known whatever ends the soak.
        compare: measure throughput and memory before the first fault and after the last one, for some two minutes each.
        callers: how many callers there are on each of the four clients.
    """
    tally = tally or Tally()
    async with Rig(chaos_broker, folder, heartbeat=_HEARTBEAT) as rig:
        field = Field(rig, random.Random(seed), callers, _READERS)
        await field.set_up()
        rounds = _Rounds(field, tally, say)
        before = await rounds.measure() if compare else None
        until = time.monotonic() + seconds
        while time.monotonic() < until and tally.kept:
            await rounds.faults()
        for _ in range(_ATTEMPTS):
            if before is None or not tally.kept:
                break
            tally.comparison = Comparison.of(before, await rounds.measure())
            for line in (*tally.comparison.lines(), str(tally.comparison)):
                say(line)
            if not tally.comparison.missed:
                break
    return tally


class _Rounds:
    def __init__(self, field: Field, tally: Tally, say: Callable[[str], None]) -> None:
        self._field = field
        self._tally = tally
        self._say = say

    async def faults(self) -> None:
        """Some faults at once."""
        field, dice = self._field, self._field.dice
        faults = dice.sample(FAULTS, _AT_ONCE)
        offsets = [dice.uniform(0, 2) for _ in faults]

        async def strike(number: int) -> None:
            await asyncio.sleep(offsets[number])
            await faults[number](field)

        async def strike_all(_: FieldLoad) -> None:
            async with asyncio.TaskGroup() as striking:
                for number in range(len(faults)):
                    striking.create_task(strike(number))

        await self._round(" and ".join(fault.__name__ for fault in faults), strike_all)
        self._tally.rounds += 1
        self._say(f"  then the client holds {resident() / 2**20:.1f} MiB")

    async def measure(self) -> Figures:
        """Return what is measured in rounds without faults."""
        figures = Figures()

        async def count(load: FieldLoad) -> None:
            for _ in range(_WINDOWS):
                results, began = load.results, time.monotonic()
                await asyncio.sleep(_WINDOW)
                figures.rates.append((load.results - results) / (time.monotonic() - began))

        for number in range(_WARMING_ROUNDS + _MEASURED_ROUNDS):
            if number == _WARMING_ROUNDS:
                figures = Figures()
            await self._round("no fault", count)
            figures.client.append(resident())
            for worker in self._field.rig.workers:
                figures.workers.setdefault(worker.pid, []).append((await worker.state())["rss"])
        return figures

    async def _round(self, name: str, act: Callable[[FieldLoad], Awaitable[None]]) -> None:
        rig, tally = self._field.rig, self._tally
        load = await self._field.load()
        await act(load)
        await load.flows()
        await load.end(rig)
        left = await rig.left_behind()
        runs = rig.runs()
        found: list[tuple[str, Entry | StreamEntry]] = [
            *rig.ledger.violations(runs, errors=ERRORS, runs_twice=True),
            *(found for streams in load.streams for found in streams.violations(runs)),
        ]
        entries = [entry for streams in load.streams for entry in streams.entries]
        failed = dict(Counter(type(entry.error).__name__ for entry in entries if entry.error is not None))
        calls = f"{len(rig.ledger.entries)} calls, {dict(rig.ledger.errors())}"
        self._say(f"{name}: {calls}; {len(entries)} streams, {failed}")
        tally.add(rig.ledger, entries, [what for what, _ in found])
        for what, entry in found[:_SHOWN]:
            self._say(f"  {what}: {entry}; it ran: {runs.get(entry.call_id, [])}")
        if left:
            tally.left_behind += 1
            self._say(f"  left behind: {left}")
        else:
            await rig.check_processes()
        await self._field.forget()

"""The soak itself: rounds of load and faults, each followed by a look at every call."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError, ConnectionLostError, NoRouteError
from tests.chaos.ledger import ECHO, KEYED, LASTING, ONCE, SAFE, THREAD, WORK
from tests.chaos.rig import Rig
from tools.soak.faults import FAULTS, NOWHERE, SLOW, Field

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.broker import ChaosBroker
    from tests.chaos.ledger import Ledger

__all__ = ["Tally", "soak"]

PLANS = (ECHO, WORK, WORK, SAFE, KEYED, LASTING, THREAD, ONCE)
ERRORS = {
    **dict.fromkeys((ECHO, WORK, LASTING, THREAD, SLOW), (ConnectionLostError,)),
    ONCE: (ConnectionLostError, CallTimeoutError),
    NOWHERE: (NoRouteError, CallTimeoutError, ConnectionLostError),
}
"""How calls may end that meet a fault; all others must have their result."""
_HEARTBEAT = 2
_AT_ONCE = 2


@dataclass
class Tally:
    """How the calls of a soak have ended.

    Attributes:
        ends: how many with which error.
        broken: how many broke which promise.
    """

    calls: int = 0
    results: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    left_behind: int = 0

    def add(self, ledger: Ledger, broken: list[str]) -> None:
        self.calls += len(ledger.entries)
        self.results += ledger.results
        self.ends += ledger.errors()
        self.broken += Counter(next((kind for kind in ("lost", "hung") if what.startswith(kind)), "wrong")
                               for what in broken)  # fmt: skip

    @property
    def clean(self) -> bool:
        return not self.broken and not self.left_behind

    def __str__(self) -> str:
        ends = "".join(f", {name} {count}" for name, count in sorted(self.ends.items()))
        broken = ", ".join(f"{kind} {self.broken[kind]}" for kind in ("lost", "wrong", "hung"))
        left = f", left something behind {self.left_behind}" if self.left_behind else ""
        return f"calls {self.calls}, results {self.results}{ends}, {broken}{left}"


async def soak(
    chaos_broker: ChaosBroker,
    folder: Path,
    *,
    seconds: float,
    seed: int,
    say: Callable[[str], None] = print,
    tally: Tally | None = None,
) -> Tally:
    """Break things at random for the given number of seconds.

    Args:
        chaos_broker: the broker; it is killed now and then.
        folder: for what the processes write.
        seconds: how long; the last round is finished.
        seed: makes the same faults in the same order.
        say: is told of every round, and of each call that broke a promise.
        tally: to which every round that has ended is added, so that it is known whatever ends the soak.
    """
    tally = tally or Tally()
    async with Rig(chaos_broker, folder, heartbeat=_HEARTBEAT) as rig:
        field = Field(rig, random.Random(seed))
        await field.set_up()
        until = time.monotonic() + seconds
        while time.monotonic() < until and tally.clean:
            await _round(field, tally, say)
    return tally


async def _round(field: Field, tally: Tally, say: Callable[[str], None]) -> None:
    rig, dice = field.rig, field.dice
    faults = dice.sample(FAULTS, _AT_ONCE)
    offsets = [dice.uniform(0, 2) for _ in faults]
    load = await rig.load(field.client, *PLANS)

    async def strike(number: int) -> None:
        await asyncio.sleep(offsets[number])
        await faults[number](field)

    async with asyncio.TaskGroup() as striking:
        for number in range(len(faults)):
            striking.create_task(strike(number))
    await load.flows()
    await rig.end_load()
    left = await rig.left_behind()
    found = rig.ledger.violations(rig.runs(), errors=ERRORS, runs_twice=True)
    names = " and ".join(fault.__name__ for fault in faults)
    say(f"{names}: {len(rig.ledger.entries)} calls, {dict(rig.ledger.errors())}")
    tally.add(rig.ledger, [what for what, _ in found])
    for what, entry in found[:10]:
        say(f"  {what}: {entry}")
    if left:
        tally.left_behind += 1
        say(f"  left behind: {left}")
    else:
        await rig.check_processes()
    rig.forget_calls()

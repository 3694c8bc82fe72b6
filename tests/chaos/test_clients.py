"""Callers that die or close leave nothing behind, neither on the broker nor on the workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge import ConnectionLostError
from tests.chaos.ledger import ECHO, SAFE, THREAD, WORK, Plan
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.rig import Rig

SERVICES = "echo,work,safe,thread,never"
OTHERS = (ECHO, SAFE, THREAD)
NEVER = Plan("never", timeout=None)
FIRST, NEVERS, LASTING = 1_000_000, 200, 60


def _ends(rig: Rig, calls: Iterable[int]) -> list[str | None]:
    """Return how the runs of these calls have ended."""
    runs = rig.runs()
    return [run.end for call_id in calls for run in runs.get(call_id, [])]


async def test_killed_ones(rig: Rig) -> None:
    await rig.two_workers(services=SERVICES)
    await rig.load(await rig.client(), *OTHERS)
    silent, lasting = await asyncio.gather(
        rig.launch("caller", CHAOS_FIRST=str(FIRST), CHAOS_NEVER=str(NEVERS), CHAOS_LASTING="0"),
        rig.launch("caller", CHAOS_FIRST=str(2 * FIRST), CHAOS_NEVER=str(NEVERS), CHAOS_LASTING=str(LASTING)),
    )
    endless = [*range(FIRST, FIRST + NEVERS), *range(2 * FIRST, 2 * FIRST + NEVERS)]
    to_end = range(2 * FIRST + NEVERS, 2 * FIRST + NEVERS + LASTING)
    await until(lambda: len(_ends(rig, endless)) == 2 * NEVERS and len(_ends(rig, to_end)) == LASTING)
    silent.kill()
    lasting.kill()
    # The one is noticed when nobody takes its results, the other when its workers ask.
    await until(lambda: _ends(rig, endless) == ["cancelled"] * 2 * NEVERS)
    await until(lambda: _ends(rig, to_end) == ["end"] * LASTING)
    await rig.check(runs_twice=False)


async def test_closed_ones(rig: Rig) -> None:
    await rig.two_workers(services=SERVICES)
    client = await rig.client()
    await rig.load(await rig.client(), *OTHERS, WORK)
    calls = [asyncio.create_task(rig.ledger.call(client, NEVER)) for _ in range(600)]
    await until(lambda: len(_ends(rig, (entry.call_id for entry in rig.ledger.of(NEVER)))) == 512)
    await soon(client.close())
    entries = await soon(asyncio.gather(*calls))
    assert {type(entry.error) for entry in entries} == {ConnectionLostError}
    # Those that waited are forgotten, or begun and cancelled where a place came free before their cancel message.
    await until(lambda: set(_ends(rig, (entry.call_id for entry in entries))) == {"cancelled"})
    rig.forget(client)
    await rig.check(errors={NEVER: (ConnectionLostError,)}, runs_twice=False)

"""More calls than their services can take, with little time: most are refused or time out while workers die."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError, ConnectionLostError, QueueFullError
from tests.chaos.ledger import Plan

if TYPE_CHECKING:
    from tests.chaos.rig import Rig

FULL = os.environ.get("CHAOS_FULL") == "1"
CALLERS, ROUNDS, RESULTS = (240, 4, 200) if FULL else (60, 1, 60)
PATIENT = (
    Plan("narrow", (0.02, 0.3)),
    Plan("narrow", (0.02, 0.3), idempotent=True, asked=True),
    Plan("narrow_once", (0.02, 0.3), at_most_once=True),
)
PLANS = tuple(replace(plan, timeout=seconds) for plan in PATIENT for seconds in (1.0, 2.0, 5.0))
FETCHED = 4
"""The ``fetch_size`` of these services."""
ENDS = {
    plan: (QueueFullError, CallTimeoutError, *(() if plan.idempotent else (ConnectionLostError,)))
    for plan in PLANS
}  # fmt: skip
SERVICES = "narrow,narrow_once"


async def test_full_queues_and_short_deadlines_while_workers_and_connections_die(rig: Rig) -> None:
    await rig.two_workers(services=SERVICES)
    client = await rig.client()
    await rig.note_baseline(client, *PATIENT)
    load = await rig.load(client, *PLANS, callers=CALLERS, busy=0)
    for _ in range(ROUNDS):
        rig.workers.pop(0).kill()
        await load.flows(RESULTS)
        await rig.worker(services=SERVICES)
        await rig.chaos_broker.ctl("close_all_connections", "--vhost", rig.vhost, "for a test")
        await load.flows(RESULTS)
        if FULL:
            await asyncio.to_thread(rig.chaos_broker.node.kill)
            await asyncio.to_thread(rig.chaos_broker.node.start)
            await load.flows(RESULTS)
    await rig.check(errors=ENDS)
    ends = rig.ledger.errors()
    print(f"calls {len(rig.ledger.entries)}, results {rig.ledger.results}, {dict(ends)}")
    assert ends["QueueFullError"] > RESULTS
    assert ends["CallTimeoutError"] + ends["DeadlineTooShortError"] > 0
    # Who is refused is told for certain that it did not run, and the ledger has compared that with what ran. It is not
    # certain of a call that was sent again because of a lost connection.
    for entry in rig.ledger.ended_with(QueueFullError):
        sent_before = any("It was sent before" in note for note in getattr(entry.error, "__notes__", ()))
        assert getattr(entry.error, "executed", 0) is (None if sent_before else False), entry
        assert not sent_before or entry.plan.idempotent, entry
    assert _most_at_once(rig) <= FETCHED


def _most_at_once(rig: Rig) -> int:
    """Return how many calls of one service any worker ran at a time."""
    changes: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for call_id, runs in rig.runs().items():
        service = rig.ledger.entries[call_id].plan.service
        for run in runs:
            if run.ended is not None:
                changes.setdefault((run.pid, service), []).extend([(run.started, 1), (run.ended, -1)])
    most = 0
    for moments in changes.values():
        running = 0
        for _, change in sorted(moments):  # at the same time, one ends before the next begins
            running += change
            most = max(most, running)
    return most

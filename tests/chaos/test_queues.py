"""Queues that are deleted or declared otherwise by somebody else: it is told who is at fault, the others go on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import aiormq
import pytest
from aiormq.exceptions import ChannelPreconditionFailed

from rabibridge import CallTimeoutError, NoRouteError
from tests.chaos.ledger import ECHO, SAFE, THREAD, WORK
from tests.support.waiting import until, until_true

if TYPE_CHECKING:
    from tests.chaos.ledger import Plan
    from tests.chaos.rig import Rig
    from tests.support.processes import Process

SHORT = replace(WORK, seconds=(0.05, 0.5), timeout=5.0)
QUEUE = "rpc_async_work"
GONE = {SHORT: (CallTimeoutError, NoRouteError)}
"""Calls that were in a queue that is deleted are gone with it; while there is none, there is no route."""
OTHERS = (ECHO, SAFE, THREAD)


async def _results_since(rig: Rig, moment: float, plan: Plan) -> None:
    await until(lambda: sum(entry.ok and entry.began > moment for entry in rig.ledger.of(plan)) > 50)


async def _says_why(worker: Process, *words: str) -> None:
    """Wait until the worker is not healthy for one reason, which has all of these words."""

    async def look() -> bool:
        state = await worker.state()
        reasons = state["reasons"]
        return not state["ok"] and len(reasons) == 1 and all(word in reasons[0] for word in words)

    try:
        await until_true(look)
    except TimeoutError:
        raise AssertionError(f"{await worker.state()}, wanted: {words}") from None


async def test_one_is_deleted_under_its_service(rig: Rig) -> None:
    await rig.two_workers()
    await rig.load(await rig.client(), *OTHERS, SHORT)
    await rig.chaos_broker.ctl("delete_queue", "--vhost", rig.vhost, QUEUE)
    await _results_since(rig, time.monotonic(), SHORT)
    await rig.check(errors=GONE, runs_twice=False)


async def test_one_is_deleted_that_the_worker_may_not_declare(rig: Rig) -> None:
    worker = await rig.worker()
    load = await rig.load(await rig.client(), *OTHERS, SHORT)
    await rig.chaos_broker.allow(rig.vhost, r"^amq\.gen-.*$", ".*", ".*")
    await rig.chaos_broker.ctl("delete_queue", "--vhost", rig.vhost, QUEUE)
    await _says_why(worker, "'work'", QUEUE, "permission")
    await load.flows()
    await rig.end_load()
    rig.ledger.check(rig.runs(), errors=GONE, runs_twice=False)
    rig.check_logs()


async def test_one_is_declared_with_other_arguments(rig: Rig) -> None:
    network = await rig.network()
    worker = await rig.worker(url=network.url)
    load = await rig.load(await rig.client(), *OTHERS, SHORT)
    connection = await aiormq.connect(rig.url)
    try:
        # While it stands, the newcomer is at fault.
        with pytest.raises(ChannelPreconditionFailed):
            await (await connection.channel()).queue_declare(QUEUE, durable=True, arguments={"x-max-length": 77})
        await load.flows()
        assert (await worker.state())["ok"]
        network.refusing = True
        network.cut()
        channel = await connection.channel()
        await asyncio.sleep(0.2)  # so that the broker sees that the worker is gone; it cannot come back
        await channel.queue_delete(QUEUE)
        await channel.queue_declare(QUEUE, durable=True, arguments={"x-overflow": "reject-publish", "x-max-length": 77})
        network.refusing = False
        # Now the worker comes to a queue of somebody else's.
        await _says_why(worker, "'work'", "queue_size", "77")
        await load.flows()
        await rig.end_load()
        rig.ledger.check(rig.runs(), errors=GONE)
        rig.check_logs()
    finally:
        await connection.close()

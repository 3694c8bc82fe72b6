"""Uploads reach their function with all of their items, in order and once each, or end with one error on both sides."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from rabibridge import ConnectionLostError, StreamError
from tests.chaos.ledger import ECHO
from tests.chaos.test_streams import all_stopped
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQClient
    from tests.chaos.rig import Rig
    from tests.support.processes import Process

SERVICES = "echo,store,converse"
ENDLESS, ENOUGH = 10**9, 300
_FIRST = 6_000_000


class _Source:
    """What feeds a call, and how far it was drawn from."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.drawn = 0
        self.closed = False

    async def items(self) -> AsyncIterator[int]:
        try:
            while self.drawn < self.end:
                self.drawn += 1
                yield self.drawn - 1
                if self.drawn % 10 == 0:
                    await asyncio.sleep(0.002)
        finally:
            self.closed = True


class Uploads:
    """An upload for one result, and a conversation: both under way until a fault ends them."""

    def __init__(self, client: RMQClient, end: int = ENDLESS) -> None:
        self.stored, self.answered = _Source(end), _Source(end)
        self.call_ids = (_FIRST + 1, _FIRST + 2)
        self.answers: list[list[int]] = []
        self._stream = client.stream("converse", self.call_ids[1], self.answered.items())
        store = client.call("store", self.call_ids[0], self.stored.items())
        self._tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(store), asyncio.ensure_future(self._read())]

    async def _read(self) -> None:
        async for answer in self._stream:
            self.answers.append(answer)

    async def flow(self) -> None:
        """Wait until both are well under way, further than now."""
        stored, answered = self.stored.drawn + ENOUGH, len(self.answers) + ENOUGH
        await until(
            lambda: (self.stored.drawn > stored and len(self.answers) > answered) or any(t.done() for t in self._tasks)
        )
        assert not any(task.done() for task in self._tasks), self._tasks

    async def ended(self, kind: type[BaseException]) -> None:
        """Wait until both have ended with such an error; what came before is right."""
        errors = await soon(asyncio.gather(*self._tasks, return_exceptions=True))
        assert [type(error) for error in errors] == [kind, kind], errors
        assert errors[1].received == len(self.answers) > 0  # type: ignore[union-attr]
        self._check()

    async def complete(self) -> set[int]:
        """Wait until both have ended well; return the processes that have run them."""
        (count, pid), _ = await soon(asyncio.gather(*self._tasks))
        assert count == self.stored.end == len(self.answers)
        self._check()
        return {pid, *(answer[1] for answer in self.answers)}

    def _check(self) -> None:
        assert [number for number, _ in self.answers] == list(range(len(self.answers)))
        assert self._stream.received == len(self.answers)
        assert self.stored.closed
        assert self.answered.closed


async def _begin(rig: Rig, client: RMQClient, end: int = ENDLESS) -> Uploads:
    await rig.note_baseline(client, ECHO)
    calls = Uploads(client, end)
    await calls.flow()
    return calls


async def _end(rig: Rig, client: RMQClient, calls: Uploads) -> None:
    """Check that both functions were stopped, that another upload succeeds, and that nothing is left behind."""
    await all_stopped(rig, *calls.call_ids)
    again = _Source(ENOUGH)
    assert (await soon(client.call("store", _FIRST + 3, again.items())))[0] == ENOUGH
    await rig.check()


async def _one_worker(rig: Rig, **options: str) -> tuple[RMQClient, Process]:
    return await rig.client(), await rig.worker(services=SERVICES, **options)


async def test_a_worker_is_killed_in_the_middle_of_an_upload(rig: Rig) -> None:
    client, worker = await _one_worker(rig)
    calls = await _begin(rig, client)
    worker.kill()
    rig.workers.remove(worker)
    await rig.worker(services=SERVICES)
    await calls.ended(StreamError)
    await _end(rig, client, calls)


async def test_the_connection_of_the_worker_is_cut_in_the_middle_of_an_upload(rig: Rig) -> None:
    network = await rig.network()
    client, _ = await _one_worker(rig, url=network.url)
    calls = await _begin(rig, client)
    network.cut()
    await calls.ended(StreamError)
    await _end(rig, client, calls)


async def test_the_connection_of_the_caller_is_cut_in_the_middle_of_an_upload(rig: Rig) -> None:
    network = await rig.network()
    await rig.worker(services=SERVICES)
    client = await rig.client(network.url)
    calls = await _begin(rig, client)
    network.cut()
    await calls.ended(ConnectionLostError)
    await _end(rig, client, calls)


async def test_the_caller_is_killed_in_the_middle_of_an_upload(rig: Rig) -> None:
    client, _ = await _one_worker(rig)
    await rig.note_baseline(client, ECHO)
    callers = []
    for call_id, called in ((_FIRST + 1, "store"), (_FIRST + 2, "converse")):
        callers.append(await rig.launch("stream_caller", CHAOS_FIRST=str(call_id), CHAOS_CALLED=called))
    for caller in callers:
        await caller.ready()
    assert [run.end for call_id in (_FIRST + 1, _FIRST + 2) for run in rig.runs()[call_id]] == [None, None]
    for caller in callers:
        caller.kill()
    await all_stopped(rig, _FIRST + 1, _FIRST + 2)
    await rig.check()


async def test_a_worker_is_told_to_end_in_the_middle_of_an_upload(rig: Rig) -> None:
    client, worker = await _one_worker(rig, RABIBRIDGE_DRAIN_TIMEOUT="1")
    calls = await _begin(rig, client)
    worker.send(signal.SIGTERM)
    rig.workers.remove(worker)
    await rig.worker(services=SERVICES)
    await calls.ended(StreamError)
    assert await worker.ended() == 0
    assert all(run.end for call_id in calls.call_ids for run in rig.runs()[call_id])
    await _end(rig, client, calls)


async def test_a_worker_that_is_told_to_end_finishes_its_uploads(rig: Rig) -> None:
    client, worker = await _one_worker(rig)
    calls = await _begin(rig, client, end=4000)
    worker.send(signal.SIGTERM)
    rig.workers.remove(worker)
    assert await calls.complete() == {worker.pid}
    assert await worker.ended() == 0
    await rig.worker(services=SERVICES)
    await _end(rig, client, calls)


async def test_the_broker_is_restarted_in_the_middle_of_an_upload(rig: Rig) -> None:
    client, _ = await _one_worker(rig)
    calls = await _begin(rig, client)
    await asyncio.to_thread(rig.chaos_broker.node.kill)
    await calls.ended(ConnectionLostError)
    await asyncio.to_thread(rig.chaos_broker.node.start)
    await _end(rig, client, calls)

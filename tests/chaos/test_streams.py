"""Streams end with all of their items, in order and once each, or with one error that says how many came."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from rabibridge import CallTimeoutError, ConnectionLostError, StreamError
from tests.chaos.ledger import ECHO
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.chaos.rig import Rig
    from tests.support.processes import Process

SERVICES = "echo,stream,resumable"
ENDLESS, MANY, ENOUGH = 10**9, 4000, 300
_FIRST = 5_000_000


class Reader:
    """Reads one stream, and keeps what comes."""

    def __init__(self, client: RMQClient, name: str, number: int, count: int, pause: float = 0.002, **options: Any):
        self.call_id = _FIRST + number
        self.items: list[int] = []
        self.pids: list[int] = []
        self.error: BaseException | None = None
        self.stream = client.options(**options).stream(name, self.call_id, count, pause)
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for number, pid in self.stream:
                self.items.append(number)
                self.pids.append(pid)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    async def flows(self, more: int = ENOUGH) -> None:
        enough = len(self.items) + more
        await until(lambda: len(self.items) >= enough or self._task.done())
        assert not self._task.done(), self.error

    async def ended(self, kind: type[BaseException] | None = None) -> None:
        """Wait until it ends: with this error, or with all of its items; what came is right in any case."""
        await soon(self._task)
        assert self.items == list(range(len(self.items)))
        assert self.stream.received == len(self.items)
        if kind is None:
            assert self.error is None, self.error
        else:
            assert type(self.error) is kind, self.error
            assert self.error.received == len(self.items) > 0  # type: ignore[attr-defined]


async def _two(rig: Rig, **options: str) -> tuple[RMQClient, Process, Process]:
    """Start two workers and a client, and note what there is."""
    first, second = await rig.two_workers(services=SERVICES, **options)
    client = await rig.client()
    await rig.note_baseline(client, ECHO)
    return client, first, second


def _of(rig: Rig, reader: Reader) -> Process:
    """Return the worker whose items came last."""
    return next(worker for worker in rig.workers if worker.pid == reader.pids[-1])


async def all_stopped(rig: Rig, *call_ids: int) -> None:
    """Wait until every run of these streams has ended, except those whose process is gone."""
    pids = {worker.pid for worker in rig.workers}
    await until(
        lambda: all(
            run.end is not None for call_id in call_ids for run in rig.runs().get(call_id, []) if run.pid in pids
        )
    )


async def test_a_worker_is_killed_in_the_middle(rig: Rig) -> None:
    client, *_ = await _two(rig)
    plain, resumed = Reader(client, "stream", 1, ENDLESS), Reader(client, "resumable", 2, MANY)
    await asyncio.gather(plain.flows(), resumed.flows())
    victims = {_of(rig, plain), _of(rig, resumed)}
    for worker in victims:
        worker.kill()
        rig.workers.remove(worker)
    await asyncio.gather(*(rig.worker(services=SERVICES) for _ in victims))
    await asyncio.gather(plain.ended(StreamError), resumed.ended())
    assert len(resumed.items) == MANY
    assert len(set(resumed.pids)) == 2
    await all_stopped(rig, plain.call_id, resumed.call_id)
    await rig.check()


async def test_the_connection_of_the_worker_is_cut_in_the_middle(rig: Rig) -> None:
    network = await rig.network()
    await rig.worker(url=network.url, services=SERVICES)
    client = await rig.client()
    await rig.note_baseline(client, ECHO)
    plain, resumed = Reader(client, "stream", 1, ENDLESS), Reader(client, "resumable", 2, MANY)
    await asyncio.gather(plain.flows(), resumed.flows())
    network.cut()
    await asyncio.gather(plain.ended(StreamError), resumed.ended())
    assert len(resumed.items) == MANY
    await all_stopped(rig, plain.call_id, resumed.call_id)
    await rig.check()


async def test_the_connection_of_the_reader_is_cut_in_the_middle(rig: Rig) -> None:
    network = await rig.network()
    await rig.two_workers(services=SERVICES)
    client = await rig.client(network.url)
    await rig.note_baseline(client, ECHO)
    plain, resumed = Reader(client, "stream", 1, ENDLESS), Reader(client, "resumable", 2, MANY)
    await asyncio.gather(plain.flows(), resumed.flows())
    network.cut()
    await asyncio.gather(plain.ended(ConnectionLostError), resumed.ended())
    assert len(resumed.items) == MANY
    await all_stopped(rig, plain.call_id, resumed.call_id)
    await rig.check()


async def test_the_reader_is_killed_in_the_middle(rig: Rig) -> None:
    await _two(rig)
    reader = await rig.launch("stream_caller", CHAOS_FIRST=str(_FIRST), CHAOS_CALLED="stream")
    await reader.ready()
    assert [run.end for run in rig.runs()[_FIRST]] == [None]
    reader.kill()
    await all_stopped(rig, _FIRST)
    await rig.check()


async def test_the_reader_leaves_in_the_middle(rig: Rig) -> None:
    client, *_ = await _two(rig)
    readers = [Reader(client, name, at, ENDLESS) for at, name in enumerate(("stream", "resumable") * 20)]
    await asyncio.gather(*(reader.flows(100) for reader in readers))
    for reader in readers:
        await reader.stream.aclose()
    await asyncio.gather(*(reader.ended() for reader in readers))
    await all_stopped(rig, *(reader.call_id for reader in readers))
    last = Reader(client, "stream", 100, ENOUGH)  # the places are free again
    await last.ended()
    assert len(last.items) == ENOUGH
    await rig.check()


async def test_the_time_of_a_stream_is_over_in_the_middle(rig: Rig) -> None:
    client, *_ = await _two(rig)
    readers = [
        Reader(client, "stream", 1, ENDLESS, timeout=2.0),
        Reader(client, "resumable", 2, ENDLESS, timeout=2.0),
        Reader(client, "stream", 3, ENDLESS, pause=3600.0, idle_timeout=1.0),
    ]
    await asyncio.gather(*(reader.ended(CallTimeoutError) for reader in readers))
    assert len(readers[2].items) == 10
    await all_stopped(rig, *(reader.call_id for reader in readers))
    await rig.check()


async def test_a_worker_is_told_to_end_in_the_middle(rig: Rig) -> None:
    client, *_ = await _two(rig, RABIBRIDGE_DRAIN_TIMEOUT="1")
    plain, resumed = Reader(client, "stream", 1, ENDLESS), Reader(client, "resumable", 2, MANY)
    await asyncio.gather(plain.flows(), resumed.flows())
    stopped = {_of(rig, plain), _of(rig, resumed)}
    for worker in stopped:
        worker.send(signal.SIGTERM)
        rig.workers.remove(worker)
    await asyncio.gather(*(rig.worker(services=SERVICES, RABIBRIDGE_DRAIN_TIMEOUT="1") for _ in stopped))
    await asyncio.gather(plain.ended(StreamError), resumed.ended())
    assert len(resumed.items) == MANY
    assert [await worker.ended() for worker in stopped] == [0] * len(stopped)
    assert all(run.end for run in rig.runs()[plain.call_id])
    await rig.check()


async def test_a_worker_that_is_told_to_end_finishes_its_streams(rig: Rig) -> None:
    client, *_ = await _two(rig)
    reader = Reader(client, "stream", 1, MANY)
    await reader.flows()
    worker = _of(rig, reader)
    worker.send(signal.SIGTERM)
    rig.workers.remove(worker)
    await reader.ended()
    assert len(reader.items) == MANY
    assert await worker.ended() == 0
    await rig.worker(services=SERVICES)
    await rig.check()


async def test_the_broker_is_restarted_in_the_middle(rig: Rig) -> None:
    client, *_ = await _two(rig)
    plain, resumed = Reader(client, "stream", 1, ENDLESS), Reader(client, "resumable", 2, MANY)
    await asyncio.gather(plain.flows(), resumed.flows())
    await asyncio.to_thread(rig.chaos_broker.node.kill)
    await plain.ended(ConnectionLostError)
    await asyncio.to_thread(rig.chaos_broker.node.start)
    await resumed.ended()
    assert len(resumed.items) == MANY
    await all_stopped(rig, plain.call_id, resumed.call_id)
    await rig.check()

"""Classes of criticality: cancellations, deadlines, losses, drains and changes hold for the calls of each class."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._protocol.naming import of_class
from rabibridge_core._server import classed_service
from rabibridge_core.errors import CallTimeoutError, ConfigurationError, ConnectionLostError
from rabibridge_core.transport import QueueDeleter
from rabibridge_testing.conformance.classes import CLASSES, Recorder, calling
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import ConformanceBase, soon, until

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, DeadLetters, DeleteQueue

__all__ = ["ClassEndingConformance"]


class ClassEndingConformance(ConformanceBase):
    """What ends, returns or moves the calls of a class."""

    @pytest.mark.parametrize("criticality", ["interactive", "batch"])
    async def test_a_cancelled_call_is_stopped_or_never_starts(self, bench: Bench, criticality: str) -> None:
        gate, name = Gate(), bench.name()
        server = await bench.server(gate.service(name, fetch_size=1, fetch_ahead=1, classes=CLASSES))
        client = await bench.client()
        running = calling(client, name, criticality)
        await soon(gate.started.get())
        waiting = calling(client, name, criticality)
        await until(lambda: server.active_requests == 2)
        waiting.cancel()
        await until(lambda: server.active_requests == 1)
        running.cancel()
        await soon(gate.ended.get())
        await until(lambda: server.active_requests == 0)
        assert gate.started.empty()

    async def test_a_call_that_waits_here_too_long_never_starts(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name, fetch_size=2))
        client = await bench.client()
        calls = [calling(client, name, None, "hold") for _ in range(2)]
        await until(lambda: len(recorder.started) == 2)
        with pytest.raises(CallTimeoutError):
            await soon(calling(client, name, "batch", "late", timeout=0.3))
        await until(lambda: server.active_requests == 2)
        recorder.opened.set()
        await soon(asyncio.gather(*calls))
        assert recorder.started == ["hold", "hold"]

    async def test_calls_of_all_classes_survive_the_loss_of_a_workers_connection(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name, fetch_size=4))
        client = await bench.client()
        calls = [calling(client, name, criticality, "hold") for criticality in ("interactive", "batch")]
        await until(lambda: len(recorder.started) == 2)
        await break_connection(server.transport)
        await until(lambda: len(recorder.started) == 4)
        recorder.opened.set()
        assert [await soon(call) for call in calls] == ["interactive", "batch"]
        await until(server.health)

    async def test_an_at_most_once_call_is_run_once_or_not_at_all(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name, fetch_size=1, delivery="at-most-once"))
        client = await bench.client()
        running = calling(client, name, "interactive", "hold")
        await until(lambda: recorder.started)
        waiting = calling(client, name, "batch", "batch")
        await until(lambda: server.active_requests == 2)
        await break_connection(server.transport)
        with pytest.raises(ConnectionLostError):  # it was fetched, and may have begun
            await soon(waiting)
        recorder.opened.set()
        assert await soon(running) == "interactive"
        assert recorder.started == ["hold"]

    async def test_a_call_that_kills_its_workers_is_dead_lettered_from_the_queue_of_its_class(
        self, bench: Bench, break_connection: BreakConnection, read_dead_letters: DeadLetters
    ) -> None:
        recorder, name = Recorder(), bench.name()
        schema = recorder.service(name, redelivery_limit=0)
        server = await bench.server(schema)
        call = calling(await bench.client(), name, "batch", "hold")
        await until(lambda: recorder.started)
        await break_connection(server.transport)
        with pytest.raises(Exception, match="delivered to workers"):
            await soon(call)
        ((_, reason),) = await soon(read_dead_letters(schema.queues[1].name))
        assert "redelivery_limit=0" in reason

    async def test_a_worker_that_stops_leaves_what_waits_to_others(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        schema = recorder.service(name, fetch_size=2)
        first = await bench.server(schema, drain_timeout=0.1)
        client = await bench.client()
        calls = [calling(client, name, None, "hold") for _ in range(2)]
        await until(lambda: len(recorder.started) == 2)
        calls += [calling(client, name, "batch", "batch") for _ in range(3)]
        await until(lambda: first.active_requests == 3)
        await soon(first.close())
        recorder.opened.set()
        await bench.server(schema)
        assert [await soon(call) for call in calls] == [None, None, "batch", "batch", "batch"]

    async def test_calls_that_cannot_start_go_to_an_idle_worker(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classed_service, "_HELD", 0.2)
        recorder, other, name = Recorder(), Recorder(), bench.name()
        busy = await bench.server(recorder.service(name, fetch_size=4))
        client = await bench.client()
        held = [calling(client, name, None, "hold") for _ in range(4)]
        await until(lambda: len(recorder.started) == 4)
        calls = [calling(client, name, "batch", f"batch {number}") for number in range(3)]
        await until(lambda: busy.active_requests == 7)
        await bench.server(other.service(name, fetch_size=4))
        assert [await soon(call) for call in calls] == ["batch"] * 3
        assert sorted(other.started) == ["batch 0", "batch 1", "batch 2"]
        assert busy.health().ok
        recorder.opened.set()
        assert [await soon(call) for call in held] == [None] * 4
        while "again" not in recorder.started:  # it fetches them again
            await soon(asyncio.gather(*(calling(client, name, "batch", "again") for _ in range(4))))

    async def test_a_lower_fetch_size_counts_the_calls_of_all_classes(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name, fetch_size=4))
        client = await bench.client()
        calls = [calling(client, name, criticality, "hold") for criticality in ("interactive", "batch", "batch")]
        await until(lambda: len(recorder.started) == 3)
        await soon(server.update(name, lambda schema: schema.with_limits(fetch_size=1)))
        calls += [calling(client, name, criticality, "next") for criticality in ("batch", "interactive")]
        await until(lambda: server.active_requests == 5)
        assert len(recorder.started) == 3
        recorder.opened.set()
        await soon(asyncio.gather(*calls))
        assert len(recorder.started) == 5

    async def test_a_service_that_loses_a_class_serves_its_callers_as_others(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name))
        if not isinstance(server.transport, QueueDeleter):
            pytest.skip("this transport deletes no queues")
        client = await bench.client()
        assert await soon(calling(client, name, "batch", "one")) == "batch"
        await soon(server.change([], [recorder.service(name, classes={"interactive": 50, "bulk": 50})]))
        assert await soon(calling(client, name, "bulk", "two")) == "bulk"
        deleted = of_class(server.services[name].schema.queue_name, "batch")
        caller, _ = await bench.caller()
        async with asyncio.timeout(30):
            while await caller.look(deleted) is not None:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.01)
        assert await soon(calling(client, name, "batch", "three")) == "batch"
        assert recorder.started == ["one", "two", "three"]

    async def test_removing_a_service_deletes_the_queues_of_all_classes(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name))
        if not isinstance(server.transport, QueueDeleter):
            pytest.skip("this transport deletes no queues")
        queues = [queue.name for queue in server.services[name].schema.queues]
        assert await soon(server.remove(name, delete=True)) is False
        caller, _ = await bench.caller()
        assert [await soon(caller.look(queue)) for queue in queues] == [None, None]

    async def test_the_queue_of_a_class_that_is_deleted_comes_back(
        self, bench: Bench, remove_queue: DeleteQueue
    ) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name))
        client = await bench.client()
        assert await soon(calling(client, name, "batch", "one")) == "batch"
        await remove_queue(server.services[name].schema.queues[1].name)
        await until(lambda: server.services[name].live)
        assert await soon(calling(client, name, "interactive", "two")) == "interactive"
        assert await soon(calling(client, name, "batch", "three")) == "batch"

    async def test_another_bound_of_a_class_is_refused_and_redeclared_when_asked(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        first = await bench.server(recorder.service(name))
        other = {"interactive": 50, "batch": 7}
        with pytest.raises(ConfigurationError, match="queue_size is 50 on the broker, 7 here"):
            await bench.server(recorder.service(name, classes=other))
        await soon(first.close())
        await bench.server(recorder.service(name, classes=other, re_register=True))
        assert await soon(calling(await bench.client(), name, "batch", "one")) == "batch"

    async def test_callers_of_a_class_that_nobody_serves_any_more_are_told_and_served(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        before = await bench.server(recorder.service(name))
        await soon(before.close())
        await bench.server(recorder.service(name, classes={"interactive": 50}))
        client = await bench.client()
        with pytest.raises(CallTimeoutError):
            await soon(calling(client, name, "batch", "lost", timeout=0.3))
        async with asyncio.timeout(30):
            while True:  # what is known of a silent service comes at most once in five seconds
                try:
                    assert await soon(calling(client, name, "batch", "served", timeout=0.3)) == "batch"
                except CallTimeoutError:
                    continue
                break
        assert recorder.started[-1] == "served"

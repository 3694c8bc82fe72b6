"""Classes of criticality: a queue and a bound for each, the more important one first, and no class starves."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.routes import critical
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import NoRouteError, QueueFullError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rabibridge_core._client.client import Client
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["ClassConformance", "Recorder", "calling", "named"]

CLASSES = {"interactive": 50, "batch": 50}


def named(criticality: str | None, kind: Any = "async", timeout: float = PATIENCE, **options: Any) -> CallOptions:
    """Return the options of a call that names a class; ``None``: none."""
    if criticality is None:
        return CallOptions(kind, timeout, **options)
    of_class, headers = critical(kind, criticality, None)
    return CallOptions(of_class, timeout, headers=headers, **options)


def calling(client: Client, name: str, criticality: str | None, *args: Any, **options: Any) -> asyncio.Task[Any]:
    """Call in a task."""
    call: Coroutine[Any, Any, Any] = client.call(name, args, {}, named(criticality, **options))
    return asyncio.ensure_future(call)


class Recorder:
    """A service that notes which calls start, in order, and lets those that begin with ``hold`` wait for the test."""

    def __init__(self) -> None:
        """Start without calls."""
        self.started: list[str] = []
        self.opened = asyncio.Event()

    def service(self, name: str, **limits: Any) -> ServiceSchema:
        """Return the service."""

        async def work(what: str) -> str | None:
            self.started.append(what)
            if what.startswith("hold"):
                await self.opened.wait()
            return current_call().criticality

        return service(work, name, **{"classes": CLASSES, **limits})


class ClassConformance(ConformanceBase):
    """Which calls wait, which start, and what a caller sees of it."""

    async def test_a_full_class_refuses_its_own_calls_and_no_others(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        await bench.server(gate.service(name, "ran", fetch_size=2, classes={"interactive": 2, "batch": 1}))
        client = await bench.client()
        calls = [calling(client, name, "batch")]
        await soon(gate.started.get())
        calls += [calling(client, name, "batch") for _ in range(4)]
        await until(lambda: sum(call.done() for call in calls) == 3)  # one runs, one waits
        refused = [call for call in calls if call.done()]
        for call in refused:
            with pytest.raises(QueueFullError, match="class 'batch'"):
                await call
        important = calling(client, name, "interactive")
        assert await soon(gate.started.get()) == "ran"  # at once, in the slot that is kept free
        gate.opened.set()
        assert await soon(important) == "ran"
        assert [await soon(call) for call in calls if call not in refused] == ["ran"] * 2
        assert gate.most == 2

    async def test_what_waits_starts_in_the_order_of_importance(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        classes = {"high": 50, "middle": 50, "low": 50}
        server = await bench.server(recorder.service(name, fetch_size=1, fetch_ahead=4, classes=classes))
        client = await bench.client()
        calls = [calling(client, name, None, "hold")]
        await until(lambda: recorder.started)
        for criticality in ("low", "middle", "high"):
            calls += [calling(client, name, criticality, f"{criticality} {number}") for number in range(2)]
        await until(lambda: server.active_requests == len(calls))
        recorder.opened.set()
        await soon(asyncio.gather(*calls))
        assert recorder.started == ["hold", "high 0", "high 1", "middle 0", "middle 1", "low 0", "low 1"]

    async def test_a_class_gets_one_of_twenty_starts(self, bench: Bench) -> None:
        recorder, name = Recorder(), bench.name()
        classes = {"high": None, "low": None}
        server = await bench.server(recorder.service(name, fetch_size=1, fetch_ahead=60, classes=classes))
        client = await bench.client()
        calls = [calling(client, name, None, "hold")]
        await until(lambda: recorder.started)
        calls += [calling(client, name, "low", "low") for _ in range(2)]
        calls += [calling(client, name, "high", "high") for _ in range(50)]
        await until(lambda: server.active_requests == len(calls))
        recorder.opened.set()
        await soon(asyncio.gather(*calls))
        lows = [place for place, what in enumerate(recorder.started) if what == "low"]
        assert lows == [20, 40]

    @pytest.mark.parametrize(("fetch_size", "slots"), [(1, 1), (2, 1), (8, 7), (16, 14)])
    async def test_some_slots_are_kept_free_of_the_class_below(self, bench: Bench, fetch_size: int, slots: int) -> None:
        recorder, name = Recorder(), bench.name()
        server = await bench.server(recorder.service(name, fetch_size=fetch_size, fetch_ahead=2))
        client = await bench.client()
        calls = [calling(client, name, "batch", "hold batch") for _ in range(fetch_size + 2)]
        await until(lambda: len(recorder.started) == slots)
        calls += [calling(client, name, None, "hold interactive") for _ in range(fetch_size)]
        await until(lambda: len(recorder.started) == fetch_size)
        await until(lambda: server.active_requests == fetch_size + min(fetch_size, slots) + 2)
        assert recorder.started.count("hold batch") == slots
        assert len(recorder.started) == fetch_size
        recorder.opened.set()
        await soon(asyncio.gather(*calls))

    @pytest.mark.parametrize("kind", ["async", "any"])
    async def test_a_service_without_classes_serves_callers_that_name_one(self, bench: Bench, kind: str) -> None:
        name = bench.name()

        async def work(number: int) -> tuple[int, str | None]:
            return number, current_call().criticality

        await bench.server(service(work, name))
        client = await bench.client()
        for number in range(3):
            assert await soon(calling(client, name, "batch", number, kind=kind)) == [number, "batch"]

    @pytest.mark.parametrize("kind", ["async", "sync", "any"])
    async def test_a_service_that_does_not_exist_has_no_classes_either(self, bench: Bench, kind: str) -> None:
        client = await bench.client()
        for _ in range(2):
            with pytest.raises(NoRouteError):
                await soon(calling(client, bench.name(), "batch", kind=kind))

    async def test_a_class_that_a_service_does_not_have_is_its_first(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        recorder, name = Recorder(), bench.name()
        await bench.server(recorder.service(name, fetch_size=2))
        client = await bench.client()
        calls = [calling(client, name, "bacth", "hold") for _ in range(2)]
        await until(lambda: len(recorder.started) == 2)  # both slots: it is not of a class below
        recorder.opened.set()
        assert [await soon(call) for call in calls] == ["bacth"] * 2
        assert sum("'bacth'" in record.getMessage() for record in caplog.records) == 1

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_every_kind_of_key_leads_to_the_class(self, bench: Bench, is_async: bool) -> None:
        name, seen = bench.name(), list[tuple[str | None, int]]()

        async def coroutine(number: int) -> str | None:
            seen.append((current_call().criticality, number))
            return current_call().criticality

        def function(number: int) -> str | None:
            seen.append((current_call().criticality, number))
            return current_call().criticality

        server = await bench.server(service(coroutine if is_async else function, name, classes=CLASSES))
        client, own = await bench.client(), "async" if is_async else "sync"
        for number, (criticality, kind) in enumerate(
            (criticality, kind) for criticality in ("interactive", "batch", None) for kind in (own, "any")
        ):
            assert await soon(calling(client, name, criticality, number, kind=kind)) == criticality
        assert sorted(number for _, number in seen) == list(range(6))
        assert server.health().ok

    async def test_calls_of_a_function_take_over_the_class_of_its_caller(self, bench: Bench) -> None:
        outer, inner = bench.name("outer"), bench.name("inner")
        client = await bench.client()

        async def gateway() -> list[str | None]:
            inherited = await client.call(inner, (), {}, named(None))
            own = await client.call(inner, (), {}, named("interactive"))
            late = await client.call(inner, (), {}, named(None, inherit_deadline=False))
            return [inherited, own, late]

        async def work() -> str | None:
            return current_call().criticality

        await bench.server(service(gateway, outer), service(work, inner, classes=CLASSES))
        assert await soon(calling(client, outer, "batch")) == ["batch", "interactive", "batch"]
        assert await soon(calling(client, outer, None)) == [None, "interactive", None]

    async def test_a_key_runs_once_through_whatever_class(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        server = await bench.server(gate.service(name, "ran", fetch_size=4, classes=CLASSES))
        client = await bench.client()
        first = calling(client, name, "batch", idempotency_key="one")
        await soon(gate.started.get())
        second = calling(client, name, "interactive", idempotency_key="one")
        await until(lambda: server.active_requests == 2)
        gate.opened.set()
        assert [await soon(first), await soon(second)] == ["ran", "ran"]
        assert await soon(calling(client, name, None, idempotency_key="one")) == "ran"
        assert gate.started.empty()

    async def test_a_broadcast_reaches_every_worker_once_whatever_it_names(self, bench: Bench) -> None:
        name = bench.name()

        async def work() -> str | None:
            return current_call().criticality

        for _ in range(2):
            await bench.server(service(work, name, classes=CLASSES))
        client = await bench.rpc_client()
        broadcast = client.options(criticality="batch", timeout=PATIENCE).broadcast(name)
        assert [reply.result async for reply in broadcast] == ["batch"] * 2

    async def test_a_notification_waits_in_the_queue_of_its_class(self, bench: Bench) -> None:
        recorder, name, plain = Recorder(), bench.name(), bench.name("plain")
        ran = asyncio.Event()

        async def work() -> None:
            if current_call().criticality == "batch":
                ran.set()

        await bench.server(recorder.service(name, classes={"interactive": None, "batch": 0}), service(work, plain))
        client = await bench.rpc_client()
        batch = client.options(criticality="batch")
        with pytest.raises(QueueFullError):
            await soon(batch.notify(name, "batch"))
        await soon(client.notify(name, "interactive"))
        await soon(batch.notify(plain))
        await soon(ran.wait())
        await until(lambda: recorder.started == ["interactive"])

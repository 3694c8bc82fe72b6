"""Reports of progress: they come before the result, the newest of them, and only to callers that want them."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.progress import Progress
from rabibridge_core.errors import CallTimeoutError, RemoteExecutionError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["ProgressConformance"]


class ProgressConformance(ConformanceBase):
    """``current_call().progress()`` and ``client.options(on_progress=...)``."""

    async def test_a_report_arrives_before_the_result(self, bench: Bench) -> None:
        name, go_on = bench.name(), asyncio.Event()

        async def work(number: int) -> int:
            current_call().progress(0.25, "grün")
            await go_on.wait()
            return number + 1

        await bench.server(service(work, name))
        client, reports = await bench.rpc_client(), asyncio.Queue[Progress]()
        call = asyncio.ensure_future(client.options(on_progress=reports.put_nowait).call(name, 1))
        assert await soon(reports.get()) == Progress(0.25, "grün")
        assert not call.done()
        go_on.set()
        assert await soon(call) == 2
        assert client._client.stray_replies == 0

    async def test_reports_from_a_thread(self, bench: Bench) -> None:
        name, go_on = bench.name(), threading.Event()

        def work() -> str:
            current_call().progress(text="started")
            go_on.wait(PATIENCE)
            current_call().progress(1)
            return "done"

        await bench.server(service(work, name))
        client, reports = await bench.rpc_client(), asyncio.Queue[Progress]()
        call = asyncio.ensure_future(client.options(on_progress=reports.put_nowait).call(name))
        assert await soon(reports.get()) == Progress(None, "started")
        go_on.set()
        assert await soon(call) == "done"

    async def test_nothing_piles_up_and_the_newest_report_wins(self, bench: Bench) -> None:
        name, go_on = bench.name(), asyncio.Event()

        async def work() -> None:
            for number in range(10_000):
                current_call().progress(number / 10_000)
            current_call().progress(1.0, "the last")
            await go_on.wait()

        await bench.server(service(work, name))
        client, reports = await bench.rpc_client(), list[Progress]()
        call = asyncio.ensure_future(client.options(on_progress=reports.append).call(name))
        await until(lambda: reports and reports[-1] == Progress(1.0, "the last"))
        assert len(reports) <= 2
        go_on.set()
        await soon(call)

    async def test_while_a_caller_is_busy_newer_reports_replace_each_other(self, bench: Bench) -> None:
        name = bench.name()

        async def work() -> None:
            for number in range(1, 8):
                current_call().progress(number / 10)
                await asyncio.sleep(0.06)

        await bench.server(service(work, name))
        client, seen, over = await bench.rpc_client(), list[float | None](), asyncio.Event()

        async def take(progress: Progress) -> None:
            seen.append(progress.fraction)
            await over.wait()

        await soon(client.options(on_progress=take).call(name))
        assert len(seen) == 1
        over.set()

    async def test_who_does_not_ask_gets_none(self, bench: Bench) -> None:
        name = bench.name()

        async def work() -> str:
            current_call().progress(0.5)
            await asyncio.sleep(0.1)
            return "done"

        await bench.server(service(work, name))
        client, reports = await bench.rpc_client(), list[Progress]()
        assert await soon(client.call(name)) == "done"
        assert [one async for one in client.options(on_progress=reports.append).map(name, [])] == []
        await soon(client.options(on_progress=reports.append).notify(name))
        assert client._client.stray_replies == 0
        assert reports == []

    async def test_errors_and_options_are_those_of_a_call(self, bench: Bench) -> None:
        name = bench.name()

        async def work(what: str) -> None:
            current_call().progress(0.5)
            await asyncio.sleep(PATIENCE if what == "slow" else 0)
            raise ValueError(what)

        await bench.server(service(work, name))
        client = await bench.rpc_client()
        view = client.options(on_progress=lambda _: None, headers={"tenant": "a"}, criticality="batch")
        with pytest.raises(RemoteExecutionError, match="quick"):
            await soon(view.call(name, "quick"))
        with pytest.raises(CallTimeoutError):
            await soon(view.options(timeout=0.3).call(name, "slow"))
        assert client.pending == 0

    async def test_a_function_that_raises_does_not_end_the_call(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        name, go_on = bench.name(), asyncio.Event()

        async def work() -> str:
            current_call().progress(0.5)
            await go_on.wait()
            return "done"

        await bench.server(service(work, name))
        client = await bench.rpc_client()

        def fail(_: Progress) -> None:
            go_on.set()
            raise ZeroDivisionError("in the caller")

        assert await soon(client.options(on_progress=fail).call(name)) == "done"
        assert "in the caller" in caplog.text

    async def test_a_call_that_is_sent_again_reports_again(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name, go_on = bench.name(), asyncio.Event()

        async def work() -> str:
            current_call().progress(0.5)
            await go_on.wait()
            return "done"

        await bench.server(service(work, name, idempotent=True))
        client, reports = await bench.rpc_client(), asyncio.Queue[Progress]()
        view = client.options(on_progress=reports.put_nowait, idempotent=True)
        call = asyncio.ensure_future(view.call(name))
        await soon(reports.get())
        await break_connection(client._client.transport)
        go_on.set()
        assert await soon(call) == "done"

    async def test_reports_of_a_stream(self, bench: Bench) -> None:
        name, go_on = bench.name(), asyncio.Event()

        async def rows() -> AsyncIterator[int]:
            current_call().progress(0.0, "before the first")
            await go_on.wait()
            go_on.clear()
            yield 1
            current_call().progress(0.5, "between")
            await go_on.wait()
            yield 2

        await bench.server(service(rows, name))
        client, reports = await bench.rpc_client(), asyncio.Queue[Progress]()
        async with client.options(on_progress=reports.put_nowait).stream(name) as stream:
            first = asyncio.ensure_future(anext(stream))
            assert await soon(reports.get()) == Progress(0.0, "before the first")
            assert not first.done()
            go_on.set()
            assert await soon(first) == 1
            assert await soon(reports.get()) == Progress(0.5, "between")
            go_on.set()
            assert await soon(anext(stream)) == 2
            with pytest.raises(StopAsyncIteration):
                await soon(anext(stream))
            assert stream.received == 2
        assert client.pending == client._client.stray_replies == 0

    async def test_reports_need_no_reader_of_the_items(self, bench: Bench) -> None:
        name = bench.name()

        async def rows() -> AsyncIterator[bytes]:
            for number in range(1, 1000):
                current_call().progress(number / 1000)
                yield bytes(64 * 1024)

        await bench.server(service(rows, name))
        client, reports = await bench.rpc_client(), list[Progress]()
        async with client.options(on_progress=reports.append).stream(name) as stream:
            assert len(await soon(anext(stream))) == 64 * 1024
            await until(lambda: bool(reports))
            assert (reports[-1].fraction or 0) < 0.5  # the window is used up long before that
        assert client.pending == 0

    async def test_reports_of_uploads(self, bench: Bench) -> None:
        reading, both, go_on, heard = bench.name(), bench.name(), asyncio.Event(), asyncio.Event()

        async def total(items: AsyncIterator[int]) -> int:
            added = await anext(items)
            current_call().progress(text="reading")
            await go_on.wait()
            return added + sum([item async for item in items])

        async def doubled(items: AsyncIterator[int]) -> AsyncIterator[int]:
            async for item in items:
                current_call().progress(text=f"item {item}")
                await heard.wait()
                yield 2 * item

        async def numbers(end: int) -> AsyncIterator[int]:
            for number in range(end):
                yield number

        await bench.server(service(total, reading), service(doubled, both))
        client, reports = await bench.rpc_client(), asyncio.Queue[Progress]()
        view = client.options(on_progress=reports.put_nowait)
        call = asyncio.ensure_future(view.call(reading, numbers(5)))
        assert await soon(reports.get()) == Progress(None, "reading")
        go_on.set()
        assert await soon(call) == 10
        async with view.stream(both, numbers(3)) as stream:
            rest = asyncio.ensure_future(_rest(stream))
            assert await soon(reports.get()) == Progress(None, "item 0")
            heard.set()
            assert await soon(rest) == [0, 2, 4]
        assert client.pending == 0

    async def test_nothing_is_reported_after_the_end_of_a_stream(self, bench: Bench) -> None:
        name, ended = bench.name(), asyncio.Event()

        async def rows() -> AsyncIterator[int]:
            try:
                while True:
                    current_call().progress(0.5)
                    yield 1
            finally:
                ended.set()

        await bench.server(service(rows, name))
        client, reports = await bench.rpc_client(), list[Progress]()
        async with client.options(on_progress=reports.append).stream(name) as stream:
            await soon(anext(stream))
        seen = len(reports)
        await soon(ended.wait())
        await asyncio.sleep(0)
        assert len(reports) == seen


async def _rest(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]

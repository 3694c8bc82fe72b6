"""Notifications: requests that want no reply, and end when the broker has confirmed them."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, NoRouteError, QueueFullError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import (
    PATIENCE,
    ConformanceBase,
    Worker,
    longer,
    request_to,
    service,
    soon,
    until,
)

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, DeadLetters

__all__ = ["NotificationConformance"]


class NotificationConformance(ConformanceBase):
    """``Caller.notify`` and ``client.notify``."""

    async def test_it_is_confirmed_and_wants_no_reply(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.notify(request_to(queue, b"told", b"what", headers={"trace": "abc"}, persistent=True))
        assert inbox.confirms.empty()  # nothing comes back inside notify()
        assert await soon(inbox.confirms.get()) == b"told"
        got = await worker.next()
        assert (bytes(got.correlation_id), bytes(got.body), got.headers["trace"]) == (b"told", b"what", "abc")
        assert got.persistent
        assert not got.wants_reply
        assert got.time_left is None
        assert got.deadline is None
        got.discard()

    async def test_only_notifications_are_confirmed_upwards(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"call"))
        caller.notify(request_to(queue, b"told"))
        assert await soon(inbox.confirms.get()) == b"told"
        for _ in range(2):
            (await worker.next()).discard()
        assert inbox.confirms.empty()

    async def test_it_is_refused_like_a_call(self, bench: Bench) -> None:
        queue = bench.queue(queue_size=1)
        caller, inbox = await bench.caller()
        caller.notify(request_to(queue, b"nobody"))
        refused = await soon(inbox.refusals.get())
        assert refused.correlation_id == b"nobody"
        assert issubclass(refused.refusal, NoRouteError)
        await soon((await bench.transport()).declare(queue))
        caller.notify(request_to(queue, b"first"))
        assert await soon(inbox.confirms.get()) == b"first"
        caller.notify(request_to(queue, b"second"))
        refused = await soon(inbox.refusals.get())
        assert refused.correlation_id == b"second"
        assert issubclass(refused.refusal, QueueFullError)

    async def test_a_function_runs_and_nobody_waits(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        await bench.server(gate.service(name, "here"))
        client = await bench.rpc_client()
        await soon(client.notify(name))
        assert client.pending == 0
        assert await soon(gate.started.get()) == "here"
        await soon(client.close())
        assert gate.running == 1  # the client is gone, and it runs on
        gate.opened.set()
        assert await soon(gate.ended.get()) == "here"

    async def test_errors_are_those_of_calls(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        client = await bench.rpc_client()
        with pytest.raises(NoRouteError, match=name):
            await soon(client.notify(name))
        await bench.server(gate.service(name, queue_size=1, fetch_size=1))
        await soon(client.notify(name))
        await soon(gate.started.get())
        await soon(client.notify(name))
        with pytest.raises(QueueFullError, match=name):
            await soon(client.notify(name))
        assert client.pending == 0
        gate.opened.set()

    async def test_a_function_that_raises_harms_nobody(self, bench: Bench) -> None:
        ran: asyncio.Queue[int] = asyncio.Queue()

        async def fails(number: int) -> None:
            ran.put_nowait(number)
            if number:
                raise ValueError(number)

        name = bench.name()
        server = await bench.server(service(fails, name, fetch_size=1))
        client = await bench.rpc_client()
        for number in (1, 2, 0):
            await soon(client.notify(name, number))
        assert [await soon(ran.get()) for _ in range(3)] == [1, 2, 0]
        await until(lambda: server.active_requests == 0)
        assert client.stray_replies == 0

    async def test_its_deadline_ends_it_on_the_worker(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        server = await bench.server(gate.service(name))
        client = await bench.rpc_client()
        for timeout in longer(0.3):
            with suppress(CallTimeoutError):  # it was not confirmed in time
                await soon(client.options(timeout=timeout).notify(name))
            await asyncio.sleep(timeout)  # now it has started or never will
            if not gate.started.empty():
                break
        await soon(gate.ended.get())
        await until(lambda: server.active_requests == 0)

    async def test_it_waits_for_a_worker(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        gate.opened.set()
        schema = gate.service(name, "later")
        await bench.server(schema, start=False)
        client = await bench.rpc_client()
        await soon(client.notify(name))
        await soon(client.close())
        await bench.server(schema)
        assert await soon(gate.ended.get()) == "later"

    async def test_it_runs_again_if_its_worker_is_lost(self, bench: Bench, break_connection: BreakConnection) -> None:
        gate, name = Gate(), bench.name()
        server = await bench.server(gate.service(name, "here"))
        client = await bench.rpc_client()
        await soon(client.notify(name))
        await soon(gate.started.get())
        await break_connection(server.transport)
        await soon(gate.ended.get())
        assert await soon(gate.started.get()) == "here"
        gate.opened.set()
        await soon(gate.ended.get())

    async def test_one_that_cannot_be_read_becomes_a_dead_letter(
        self, bench: Bench, read_dead_letters: DeadLetters
    ) -> None:
        name = bench.name()

        async def nothing() -> None:
            raise AssertionError("it cannot be read")

        schema = service(nothing, name)
        await bench.server(schema)
        caller, inbox = await bench.caller()
        caller.notify(request_to(schema.queue, b"garbled", b"\xc1"))
        assert await soon(inbox.confirms.get()) == b"garbled"
        async with asyncio.timeout(PATIENCE):
            while not (letters := await read_dead_letters(schema.queue_name)):  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.05)
        assert [correlation_id for correlation_id, _ in letters] == [b"garbled"]

    async def test_closing_ends_those_that_wait(self, bench: Bench) -> None:
        client = await bench.rpc_client()
        await soon(client.close())
        with pytest.raises(ConnectionLostError) as closed:
            await soon(client.notify(bench.name()))
        assert closed.value.executed is False

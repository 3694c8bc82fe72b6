"""The transport protocol, in bytes: connections that are lost and restored."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.transport import ConnectionState, Reply
from rabibridge_testing.conformance.harness import ConformanceBase, Inbox, Worker, request_to, soon

if TYPE_CHECKING:
    from rabibridge_core.transport import IncomingRequest
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, Unreachable

__all__ = ["ReconnectionConformance"]


async def _current(worker: Worker, correlation_id: bytes) -> IncomingRequest:
    """Return the next request with that correlation id; discard others."""
    while bytes((got := await worker.next()).correlation_id) != correlation_id:
        got.discard()
    return got


class ReconnectionConformance(ConformanceBase):
    """Losing the connection and reconnecting."""

    async def test_a_caller_hears_of_the_loss_and_goes_on(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        transport = await bench.transport()
        caller, inbox = await bench.caller(transport)
        caller.send(request_to(queue, b"before"))
        void = await worker.next()
        await break_connection(transport)
        error = await soon(inbox.losses.get())
        assert isinstance(error, ConnectionLostError)
        assert error.executed is None
        await soon(caller.writable())
        assert not caller.paused
        assert transport.state is ConnectionState.READY
        assert transport.last_error is None
        void.reply(Reply(b"to nobody", None, None))
        caller.send(request_to(queue, b"after"))
        (await worker.next()).reply(Reply(b"", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"after"

    async def test_a_consumer_hears_of_the_loss_and_gets_everything_again(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        queue, worker = bench.queue(), Worker()
        transport = await bench.transport()
        consumer = await soon(transport.serve(queue, worker))
        caller, inbox = await bench.caller()
        for number in range(3):
            caller.send(request_to(queue, b"%d" % number))
        void = [await worker.next() for _ in range(3)]
        await break_connection(transport)
        assert (await soon(worker.losses.get())).executed is None
        again = [await worker.next() for _ in range(3)]
        assert [bytes(one.correlation_id) for one in again] == [b"0", b"1", b"2"]
        assert all(one.redelivered for one in again)
        for one in void:
            one.reply(Reply(b"void", None, None))
        for one in again:
            one.reply(Reply(b"valid", None, None))
        replies = [await soon(inbox.replies.get()) for _ in again]
        assert all(bytes(reply.body) == b"valid" for _, reply in replies)
        assert consumer.live

    async def test_settling_a_void_request_has_no_effect(self, bench: Bench, break_connection: BreakConnection) -> None:
        queue, worker = bench.queue(fetch_size=3), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, worker))
        caller, _ = await bench.caller()
        for number in range(3):
            caller.send(request_to(queue, b"%d" % number))
        void = [await worker.next() for _ in range(3)]
        await break_connection(transport)
        await soon(worker.losses.get())
        void[0].discard()
        void[1].reject(requeue=False)
        void[2].reject(requeue=True)
        again = [await worker.next() for _ in range(3)]
        assert [bytes(one.correlation_id) for one in again] == [b"0", b"1", b"2"]

    async def test_what_was_in_flight_goes_to_another_at_once(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        queue, first, second = bench.queue(fetch_size=1), Worker(), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, first))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"shared fate"))
        await first.next()
        await soon((await bench.transport()).serve(queue, second))
        await break_connection(transport)
        waiting = [asyncio.ensure_future(worker.next()) for worker in (first, second)]
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        done.pop().result().reply(Reply(b"", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"shared fate"

    async def test_a_consumer_that_was_stopped_does_not_come_back(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        queue, stopped, running = bench.queue(), Worker(), Worker()
        transport = await bench.transport()
        consumer = await soon(transport.serve(queue, stopped))
        caller, inbox = await bench.caller(transport)
        await soon(consumer.stop())
        await break_connection(transport)
        await soon(inbox.losses.get())
        await soon(caller.writable())
        caller.send(request_to(queue, b"for the other"))
        await soon((await bench.transport()).serve(queue, running))
        assert bytes((await running.next()).correlation_id) == b"for the other"
        assert stopped.requests.empty()

    async def test_it_comes_back_again_and_again(self, bench: Bench, break_connection: BreakConnection) -> None:
        queue, worker = bench.queue(), Worker()
        serving, calling = await bench.transport(), await bench.transport()
        await soon(serving.serve(queue, worker))
        caller, inbox = await bench.caller(calling)
        for number in range(3):
            await break_connection(serving)
            await soon(worker.losses.get())
            await break_connection(calling)
            await soon(inbox.losses.get())
            await soon(caller.writable())
            caller.send(request_to(queue, b"%d" % number))
            (await _current(worker, b"%d" % number)).reply(Reply(b"", None, None))
            assert (await soon(inbox.replies.get()))[0] == b"%d" % number

    async def test_closing_while_the_connection_is_lost(self, bench: Bench, break_connection: BreakConnection) -> None:
        transport = await bench.transport()
        await break_connection(transport)
        await soon(transport.close())
        assert transport.state is ConnectionState.CLOSED

    async def test_connecting_a_second_time_after_a_failure(self, bench: Bench, cut_off: Unreachable) -> None:
        transport = await bench.transport(connect=False)
        async with cut_off(transport):
            with pytest.raises(ConnectionLostError):
                await soon(transport.connect())
        await soon(transport.connect())
        assert transport.state is ConnectionState.READY
        assert transport.last_error is None
        queue, worker = bench.queue(), Worker()
        await soon(transport.serve(queue, worker))
        caller, _ = await bench.caller()
        caller.send(request_to(queue, b"arrives"))
        assert bytes((await worker.next()).correlation_id) == b"arrives"

    async def test_what_is_asked_for_while_the_connection_is_lost_waits_for_the_next(
        self, bench: Bench, cut_off: Unreachable
    ) -> None:
        transport, queue, worker, inbox = await bench.transport(), bench.queue(), Worker(), Inbox()
        async with cut_off(transport):
            consumer = await soon(transport.serve(queue, worker))
            assert not consumer.live
            declaring = asyncio.ensure_future(transport.declare(bench.queue()))
            opening = asyncio.ensure_future(transport.open_caller(inbox))
            done, _ = await asyncio.wait((declaring, opening), timeout=0.1)
            assert not done
        await soon(declaring)
        caller = await soon(opening)
        await soon(caller.writable())
        caller.send(request_to(queue))
        (await worker.next()).reply(Reply(b"", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"1"
        assert consumer.live

    async def test_what_is_asked_for_in_the_moment_of_a_loss_waits_for_the_next_connection(
        self, bench: Bench, cut_off: Unreachable
    ) -> None:
        transport, queue = await bench.transport(), bench.queue()
        async with cut_off(transport):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await transport.declare(queue)
        await soon(transport.declare(queue))

    async def test_closing_ends_what_waits_for_a_connection(self, bench: Bench, cut_off: Unreachable) -> None:
        transport = await bench.transport()
        async with cut_off(transport):
            waiting = [
                asyncio.ensure_future(transport.declare(bench.queue())),
                asyncio.ensure_future(transport.open_caller(Inbox())),
            ]
            await asyncio.wait(waiting, timeout=0.1)
            await soon(transport.close())
            for one in waiting:
                with pytest.raises(ConnectionLostError) as lost:
                    await soon(one)
                assert lost.value.executed is False

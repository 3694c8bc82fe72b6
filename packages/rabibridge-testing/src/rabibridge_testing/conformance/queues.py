"""The transport protocol, in bytes: limits of queues, and distribution among consumers."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._protocol.broker_texts import NO_ROUTE, QUEUE_FULL, limits_differ, served_elsewhere
from rabibridge_core.errors import ConfigurationError, QueueFullError
from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.harness import ConformanceBase, Worker, request_to, soon

if TYPE_CHECKING:
    from rabibridge_core.transport import Caller, IncomingRequest, Request
    from rabibridge_testing.conformance.harness import Bench, DeleteQueue, Inbox

__all__ = ["QueueConformance"]


async def _send_until_taken(caller: Caller, request: Request, inbox: Inbox, worker: Worker) -> IncomingRequest:
    """Send ``request`` repeatedly until its queue exists, and return it as the worker receives it."""
    while True:
        caller.send(request)
        arriving, refusing = asyncio.ensure_future(worker.next()), asyncio.ensure_future(inbox.refusals.get())
        await soon(asyncio.wait((arriving, refusing), return_when=asyncio.FIRST_COMPLETED))
        refusing.cancel()
        if arriving.done():
            return arriving.result()
        arriving.cancel()


class QueueConformance(ConformanceBase):
    """Size, time to live, prefetch, settling, sharing and declaring."""

    async def test_a_full_queue_refuses_exactly_what_is_too_much(self, bench: Bench) -> None:
        queue, worker = bench.queue(queue_size=3), Worker()
        transport = await bench.transport()
        await soon(transport.declare(queue))
        caller, inbox = await bench.caller()
        for number in range(5):
            caller.send(request_to(queue, b"%d" % number))
        refused = [await soon(inbox.refusals.get()) for _ in range(2)]
        assert sorted(one.correlation_id for one in refused) == [b"3", b"4"]
        assert all(issubclass(one.refusal, QueueFullError) and one.detail for one in refused)
        await soon(transport.serve(queue, worker))
        assert [bytes((await worker.next()).correlation_id) for _ in range(3)] == [b"0", b"1", b"2"]

    async def test_a_queue_of_size_0_refuses_everything(self, bench: Bench) -> None:
        queue = bench.queue(queue_size=0)
        await soon((await bench.transport()).serve(queue, Worker()))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue))
        assert issubclass((await soon(inbox.refusals.get())).refusal, QueueFullError)

    async def test_requests_in_flight_do_not_count(self, bench: Bench) -> None:
        queue, worker = bench.queue(queue_size=1, fetch_size=2), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        unsettled = []
        for number in range(2):
            caller.send(request_to(queue, b"%d" % number))
            unsettled.append(await worker.next())
        caller.send(request_to(queue, b"waits"))
        caller.send(request_to(queue, b"too much"))
        assert (await soon(inbox.refusals.get())).correlation_id == b"too much"
        unsettled[0].reply(Reply(b"", None, None))
        assert bytes((await worker.next()).correlation_id) == b"waits"

    async def test_prefetch_bounds_what_is_in_flight(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=2), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, worker))
        other, other_worker = bench.queue(), Worker()
        await soon(transport.serve(other, other_worker))
        caller, _ = await bench.caller()
        for number in range(4):
            caller.send(request_to(queue, b"%d" % number))
        first, second = await worker.next(), await worker.next()
        caller.send(request_to(other))
        await other_worker.next()  # by now a third request would have arrived
        assert worker.requests.empty()
        second.discard()
        third = await worker.next()
        assert bytes(third.correlation_id) == b"2"
        first.discard()
        third.discard()
        assert bytes((await worker.next()).correlation_id) == b"3"

    async def test_what_is_rejected_for_others_comes_again(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        caller.send(request_to(queue, b"again"))
        first = await worker.next()
        assert not first.redelivered
        first.reject(requeue=True)
        second = await worker.next()
        assert second.redelivered
        assert bytes(second.correlation_id) == b"again"
        second.discard()

    async def test_what_is_rejected_for_good_does_not_come_again(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        for correlation_id in (b"bad", b"good"):
            caller.send(request_to(queue, correlation_id))
        (await worker.next()).reject(requeue=False)
        assert bytes((await worker.next()).correlation_id) == b"good"

    @pytest.mark.parametrize("where", ["queue", "request"])
    async def test_what_waits_too_long_is_dropped(self, bench: Bench, where: str) -> None:
        shorter, longer = 0.05, 600.0
        queue, worker = bench.queue(timeout=shorter if where == "queue" else longer), Worker()
        transport = await bench.transport()
        await soon(transport.declare(queue))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"too late", timeout=shorter if where == "request" else longer))
        await asyncio.sleep(shorter * 10)  # the expiry itself is tested
        await soon(transport.serve(queue, worker))
        caller.send(request_to(queue, b"in time", timeout=longer))
        got = await worker.next()
        assert bytes(got.correlation_id) == b"in time"
        assert inbox.refusals.empty()

    async def test_consumers_share(self, bench: Bench) -> None:
        queue = bench.queue(fetch_size=1)
        workers = [Worker(), Worker()]
        for worker in workers:
            await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        for number in range(2):
            caller.send(request_to(queue, b"%d" % number))
        for worker in workers:
            (await worker.next()).reply(Reply(b"", None, None))
        assert {(await soon(inbox.replies.get()))[0] for _ in workers} == {b"0", b"1"}

    async def test_what_a_closed_consumer_had_in_flight_goes_to_another(self, bench: Bench) -> None:
        queue, leaving, staying = bench.queue(), Worker(), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, leaving))
        caller, _ = await bench.caller()
        for number in range(3):
            caller.send(request_to(queue, b"%d" % number))
        for _ in range(3):
            await leaving.next()
        await soon((await bench.transport()).serve(queue, staying))
        await soon(transport.close())
        taken_over = [await staying.next() for _ in range(3)]
        assert [bytes(one.correlation_id) for one in taken_over] == [b"0", b"1", b"2"]
        assert all(one.redelivered for one in taken_over)

    async def test_a_consumer_that_is_closed_hears_that_what_it_has_in_flight_is_void(self, bench: Bench) -> None:
        queue, leaving, staying = bench.queue(fetch_size=1), Worker(), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, leaving))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue))
        void = await leaving.next()
        await soon(transport.close())
        await soon(leaving.losses.get())
        void.reply(Reply(b"void", None, None))
        await soon((await bench.transport()).serve(queue, staying))
        (await staying.next()).reply(Reply(b"valid", None, None))
        assert bytes((await soon(inbox.replies.get()))[1].body) == b"valid"

    async def test_a_queue_that_is_deleted_is_declared_anew(self, bench: Bench, remove_queue: DeleteQueue) -> None:
        queue, worker = bench.queue(), Worker()
        consumer = await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        for correlation_id in (b"answered", b"given back"):
            caller.send(request_to(queue, correlation_id))
        answered, given_back = await worker.next(), await worker.next()
        await remove_queue(queue.name)
        assert [answered.void, given_back.void] == [False, False]
        answered.reply(Reply(b"in hand", None, None))
        given_back.reject(requeue=True)  # the queue no longer exists
        assert (await soon(inbox.replies.get()))[0] == b"answered"
        got = await _send_until_taken(caller, request_to(queue, b"new"), inbox, worker)
        assert bytes(got.correlation_id) == b"new"
        assert not got.redelivered
        got.reply(Reply(b"", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"new"
        assert consumer.live

    async def test_a_stopped_consumer_finishes_and_leaves_the_rest(self, bench: Bench) -> None:
        queue, leaving, staying = bench.queue(fetch_size=1), Worker(), Worker()
        consumer = await soon((await bench.transport()).serve(queue, leaving))
        caller, inbox = await bench.caller()
        for number in range(3):
            caller.send(request_to(queue, b"%d" % number))
        unsettled = await leaving.next()
        await soon(consumer.stop())
        await soon(consumer.stop())
        assert not consumer.live
        await soon((await bench.transport()).serve(queue, staying))
        unsettled.reply(Reply(b"finished", None, None))
        correlation_id, reply = await soon(inbox.replies.get())
        assert (correlation_id, bytes(reply.body)) == (b"0", b"finished")
        for expected in (b"1", b"2"):
            got = await staying.next()
            assert bytes(got.correlation_id) == expected
            got.discard()
        assert leaving.requests.empty()

    async def test_declaring_the_same_again_does_no_harm(self, bench: Bench) -> None:
        queue = bench.queue(queue_size=7, timeout=600.0)
        for transport in (await bench.transport(), await bench.transport()):
            await soon(transport.declare(queue))
            await soon(transport.declare(queue))

    async def test_declaring_with_other_limits_says_what_differs(self, bench: Bench) -> None:
        queue = bench.queue(queue_size=1234)
        transport = await bench.transport()
        await soon(transport.declare(queue))
        other = dataclasses.replace(queue, queue_size=4321)
        with pytest.raises(ConfigurationError) as declaring:
            await soon(transport.declare(other))
        assert str(declaring.value) == limits_differ(queue.name, "queue_size is 1234 on the broker, 4321 here")
        with pytest.raises(ConfigurationError):
            await soon(transport.serve(other, Worker()))
        worker = Worker()
        await soon(transport.serve(queue, worker))
        caller, _ = await bench.caller()
        caller.send(request_to(queue))
        (await worker.next()).discard()

    async def test_declaring_anew_a_queue_that_is_served_is_refused_and_loses_nothing(self, bench: Bench) -> None:
        queue, worker = bench.queue(queue_size=5, fetch_size=1), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        for correlation_id in (b"in flight", b"waits"):
            caller.send(request_to(queue, correlation_id))
        in_flight = await worker.next()
        other = dataclasses.replace(queue, queue_size=6, redeclare=True)
        newcomer = await bench.transport()
        for refused in (newcomer.declare(other), newcomer.serve(other, Worker())):
            with pytest.raises(ConfigurationError) as declaring:
                await soon(refused)
            difference = "queue_size is 5 on the broker, 6 here"
            assert str(declaring.value) == served_elsewhere(queue.name, difference, 1)
        in_flight.reply(Reply(b"", None, None))
        (await worker.next()).reply(Reply(b"", None, None))
        assert {(await soon(inbox.replies.get()))[0] for _ in range(2)} == {b"in flight", b"waits"}

    async def test_what_a_refusal_says(self, bench: Bench) -> None:
        caller, inbox = await bench.caller()
        queue = bench.queue(queue_size=0)
        caller.send(request_to(queue))
        assert (await soon(inbox.refusals.get())).detail == NO_ROUTE
        await soon((await bench.transport()).declare(queue))
        caller.send(request_to(queue))
        assert (await soon(inbox.refusals.get())).detail == QUEUE_FULL

    async def test_declaring_anew_drops_what_waited(self, bench: Bench) -> None:
        queue, worker = bench.queue(queue_size=1), Worker()
        transport = await bench.transport()
        await soon(transport.declare(queue))
        caller, inbox = await bench.caller()
        for correlation_id in (b"dropped", b"refused"):
            caller.send(request_to(queue, correlation_id))
        assert (await soon(inbox.refusals.get())).correlation_id == b"refused"
        larger = dataclasses.replace(queue, queue_size=2, redeclare=True)
        await soon(transport.declare(larger))
        await soon(transport.serve(larger, worker))
        caller.send(request_to(queue, b"new"))
        assert bytes((await worker.next()).correlation_id) == b"new"

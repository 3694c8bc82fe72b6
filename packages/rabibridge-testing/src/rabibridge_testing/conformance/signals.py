"""The transport protocol, in bytes: cancellation, disconnected callers, and other ways to settle a request."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.harness import ConformanceBase, Worker, request_to, soon, until

if TYPE_CHECKING:
    from rabibridge_core.transport import IncomingRequest
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, DeadLetters, Unreachable

__all__ = ["SignalConformance"]

EMPTY = Reply(b"", None, None)


async def _probe_until_gone(worker: Worker, request: IncomingRequest) -> bytes:
    """Probe until the broker reports that the caller has disconnected; return which caller that is."""
    while True:
        request.probe()
        try:
            async with asyncio.timeout(0.1):
                return await worker.gone.get()
        except TimeoutError:
            continue


class SignalConformance(ConformanceBase):
    """Cancellation, disconnected callers, accepted and dead-lettered requests, and the count of deliveries."""

    async def test_a_cancel_reaches_every_worker_of_the_service(self, bench: Bench) -> None:
        queue, other = bench.queue(fetch_size=1), bench.queue()
        having, not_having, of_another = Worker(), Worker(), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, having))
        await soon(transport.serve(other, of_another))
        caller, _ = await bench.caller()
        caller.send(request_to(queue, b"cancelled"))
        unsettled = await having.next()
        await soon((await bench.transport()).serve(queue, not_having))
        for key in queue.routing_keys:  # whichever routing key the caller used
            caller.cancel(key, b"cancelled")
            for worker in (having, not_having):
                assert await soon(worker.cancels.get()) == (bytes(unsettled.caller), b"cancelled")
        unsettled.discard()
        caller.cancel(other.routing_keys[0], b"the other")
        assert (await soon(of_another.cancels.get()))[1] == b"the other"
        assert of_another.cancels.empty()
        assert having.cancels.empty()

    async def test_a_cancel_reaches_a_worker_that_is_finishing(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        consumer = await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        caller.send(request_to(queue, b"in hand"))
        unsettled = await worker.next()
        await soon(consumer.stop())
        caller.cancel(queue.routing_keys[0], b"in hand")
        assert await soon(worker.cancels.get()) == (bytes(unsettled.caller), b"in hand")
        unsettled.discard()

    async def test_a_cancel_that_finds_nobody_harms_nobody(self, bench: Bench, cut_off: Unreachable) -> None:
        queue, worker = bench.queue(), Worker()
        transport = await bench.transport()
        caller, inbox = await bench.caller(transport)
        caller.cancel(queue.routing_keys[0], b"no service")
        await soon((await bench.transport()).serve(queue, worker))
        async with cut_off(transport):
            caller.cancel(queue.routing_keys[0], b"no connection")
        await soon(caller.writable())
        caller.send(request_to(queue, b"goes on"))
        (await worker.next()).reply(EMPTY)
        assert (await soon(inbox.replies.get()))[0] == b"goes on"
        assert inbox.refusals.empty()

    async def test_a_caller_is_one_and_the_same_on_one_connection(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        transport = await bench.transport()
        (one, inbox), (another, _) = await bench.caller(transport), await bench.caller()
        seen: list[bytes] = []
        for caller in (one, one, another):
            caller.send(request_to(queue))
            got = await worker.next()
            seen.append(bytes(got.caller))
            got.discard()
        assert seen[0] == seen[1] != seen[2]
        await break_connection(transport)
        await soon(inbox.losses.get())
        await soon(one.writable())
        one.send(request_to(queue))
        later = await worker.next()
        assert bytes(later.caller) not in seen
        later.discard()

    async def test_a_probe_tells_whether_the_caller_is_gone(self, bench: Bench) -> None:
        queue, worker, bystander = bench.queue(fetch_size=2), Worker(), Worker()
        serving = await bench.transport()
        await soon(serving.serve(queue, worker))
        await soon(serving.serve(bench.queue(), bystander))
        leaving = await bench.transport()
        (gone, _), (here, inbox) = await bench.caller(leaving), await bench.caller()
        gone.send(request_to(queue, b"gone", timeout=600.0))
        of_gone = await worker.next()
        here.send(request_to(queue, b"here"))
        of_here = await worker.next()
        await soon(leaving.close())
        of_here.probe()
        assert await soon(_probe_until_gone(worker, of_gone)) == bytes(of_gone.caller)
        assert await soon(bystander.gone.get()) == bytes(of_gone.caller)  # all services of that worker are told
        of_gone.discard()
        of_here.reply(EMPTY)
        assert (await soon(inbox.replies.get()))[0] == b"here"
        assert inbox.replies.empty()  # a probe sends no reply

    async def test_a_reply_tells_that_the_caller_is_gone(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=2), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        leaving = await bench.transport()
        caller, _ = await bench.caller(leaving)
        for correlation_id in (b"probed", b"answered"):
            caller.send(request_to(queue, correlation_id))
        probed, answered = await worker.next(), await worker.next()
        await soon(leaving.close())
        await soon(_probe_until_gone(worker, probed))  # by now the broker has noticed
        while not worker.gone.empty():
            worker.gone.get_nowait()
        answered.reply(EMPTY)
        assert await soon(worker.gone.get()) == bytes(answered.caller)
        probed.discard()

    async def test_what_was_accepted_makes_room_and_is_answered_later(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        for number in range(3):
            caller.send(request_to(queue, b"%d" % number))
        accepted = []
        for _ in range(2):
            got = await worker.next()
            got.accept()
            assert not got.void
            accepted.append(got)
        last = await worker.next()
        accepted[0].reply(EMPTY)
        accepted[1].discard()
        last.reply(EMPTY)
        assert [(await soon(inbox.replies.get()))[0] for _ in range(2)] == [b"0", b"2"]

    async def test_what_was_accepted_never_comes_again_and_is_answered_on_the_next_connection(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        transport = await bench.transport()
        consumer = await soon(transport.serve(queue, worker))
        caller, inbox = await bench.caller()
        for correlation_id in (b"accepted", b"in hand"):
            caller.send(request_to(queue, correlation_id))
        accepted = await worker.next()
        accepted.accept()
        unsettled = await worker.next()  # so the broker has received the acknowledgement
        await break_connection(transport)
        await soon(worker.losses.get())
        assert unsettled.void
        assert not accepted.void
        again = await worker.next()
        assert bytes(again.correlation_id) == b"in hand"
        await until(lambda: consumer.live)
        accepted.reply(EMPTY)
        assert (await soon(inbox.replies.get()))[0] == b"accepted"
        again.discard()
        caller.send(request_to(queue, b"new"))
        assert bytes((await worker.next()).correlation_id) == b"new"

    @pytest.mark.parametrize("queue_type", ["classic", "quorum"])
    async def test_deliveries_are_counted(
        self, bench: Bench, break_connection: BreakConnection, queue_type: str
    ) -> None:
        queue, worker = bench.queue(redelivery_limit=5, queue_type=queue_type), Worker()
        transport = await bench.transport()
        await soon(transport.serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.send(
            request_to(queue, b"counted", b"the body", timeout=600.0, headers={"trace": "abc"}, persistent=True)
        )
        for count in range(3):
            got = await worker.next()
            assert (got.deliveries, got.redelivered) == (count, count > 0)
            assert (bytes(got.correlation_id), bytes(got.body)) == (b"counted", b"the body")
            assert got.headers["trace"] == "abc"
            assert got.persistent
            assert got.time_left is not None
            assert 0 < got.time_left <= 600.0
            await break_connection(transport)
            assert (await soon(worker.losses.get())).executed is None
            assert got.void
        (await worker.next()).reply(Reply(b"at last", None, None))
        assert bytes((await soon(inbox.replies.get()))[1].body) == b"at last"

    async def test_a_request_is_persistent_if_asked_for(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        for persistent in (True, False):
            caller.send(request_to(queue, persistent=persistent))
            got = await worker.next()
            assert got.persistent is persistent
            assert got.deliveries == 0
            got.discard()

    async def test_what_is_put_aside_is_answered_and_kept(self, bench: Bench, read_dead_letters: DeadLetters) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        for correlation_id in (b"silent", b"answered", b"good"):
            caller.send(request_to(queue, correlation_id))
        (await worker.next()).dead_letter("for no good reason")
        (await worker.next()).dead_letter("because of this", Reply(b"refused", None, None))
        good = await worker.next()  # by now the other two are settled
        assert bytes(good.correlation_id) == b"good"
        good.reply(EMPTY)
        replies = [await soon(inbox.replies.get()) for _ in range(2)]
        assert [(correlation_id, bytes(reply.body)) for correlation_id, reply in replies] == [
            (b"answered", b"refused"),
            (b"good", b""),
        ]
        assert await soon(read_dead_letters(queue.name)) == [
            (b"silent", "for no good reason"),
            (b"answered", "because of this"),
        ]

    async def test_a_loss_tells_what_was_not_confirmed(self, bench: Bench, break_connection: BreakConnection) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        transport = await bench.transport()
        caller, inbox = await bench.caller(transport)
        caller.send(request_to(queue, b"confirmed"))
        await worker.next()
        for number in range(3):  # the first request is confirmed before the others are answered
            caller.send(request_to(queue, b"%d" % number))
            (await worker.next()).reply(EMPTY)
            await soon(inbox.replies.get())
        caller.send(request_to(queue, b"unconfirmed"))
        await break_connection(transport)
        await soon(inbox.losses.get())
        assert b"confirmed" not in inbox.unconfirmed
        assert inbox.unconfirmed <= {b"unconfirmed", b"2"}

    async def test_a_caller_that_is_paused_says_why(self, bench: Bench, cut_off: Unreachable) -> None:
        transport = await bench.transport()
        caller, _ = await bench.caller(transport)
        assert not caller.paused
        assert caller.why_paused == ""
        async with cut_off(transport):
            assert caller.paused
            assert caller.why_paused
        await soon(caller.writable())
        assert caller.why_paused == ""

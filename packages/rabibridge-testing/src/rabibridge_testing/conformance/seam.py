"""The transport protocol, in bytes: connecting, sending requests and receiving replies."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import ConnectionLostError, NoRouteError
from rabibridge_core.transport import ConnectionState, Reply
from rabibridge_testing.conformance.harness import ConformanceBase, Inbox, Worker, request_to, soon

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, Transport
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["SeamConformance"]

BODIES = [
    pytest.param(b"", id="empty"),
    pytest.param(bytes(range(256)) * 3, id="all bytes"),
    pytest.param(b"\xce", id="frame end"),
    pytest.param(os.urandom(1 << 20), id="1 MiB"),
    pytest.param(os.urandom((1 << 17) - 8), id="128 KiB less a frame's overhead"),
]


def _state(transport: Transport) -> ConnectionState:
    return transport.state


class SeamConformance(ConformanceBase):
    """Connecting, sending and replying."""

    async def test_connects_and_closes(self, bench: Bench) -> None:
        transport = await bench.transport(connect=False)
        assert _state(transport) is ConnectionState.IDLE
        await soon(transport.connect())
        assert _state(transport) is ConnectionState.READY
        assert transport.last_error is None
        await soon(transport.close())
        assert _state(transport) is ConnectionState.CLOSED
        await soon(transport.wait_closed())

    async def test_connecting_and_closing_twice_does_no_harm(self, bench: Bench) -> None:
        transport = await bench.transport()
        await soon(transport.connect())
        assert _state(transport) is ConnectionState.READY
        await soon(transport.close())
        await soon(transport.close())
        assert _state(transport) is ConnectionState.CLOSED

    async def test_closing_what_was_never_connected(self, bench: Bench) -> None:
        transport = await bench.transport(connect=False)
        await soon(transport.close())
        assert _state(transport) is ConnectionState.CLOSED

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_nothing_before_connecting_and_after_closing(self, bench: Bench, when: str) -> None:
        transport = await bench.transport(connect=when == "after")
        if when == "after":
            await soon(transport.close())
        for asked in (
            transport.declare(bench.queue()),
            transport.serve(bench.queue(), Worker()),
            transport.open_caller(Inbox()),
        ):
            with pytest.raises(ConnectionLostError) as refused:
                await soon(asked)
            assert refused.value.executed is False

    async def test_a_request_arrives_as_it_was_sent(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        consumer = await soon((await bench.transport()).serve(queue, worker))
        assert consumer.live
        assert consumer.error is None
        caller, _ = await bench.caller()
        request = request_to(queue, b"cid-1", b"the body", timeout=25.0, headers={"trace": "abc"})
        caller.send(request._replace(content_type="application/x-thing", content_encoding="zstd"))
        got = await worker.next()
        assert (bytes(got.correlation_id), bytes(got.body)) == (b"cid-1", b"the body")
        assert (got.content_type, got.content_encoding) == ("application/x-thing", "zstd")
        assert got.headers["trace"] == "abc"
        assert got.wants_reply
        assert not got.redelivered
        assert got.time_left == pytest.approx(25.0, abs=0.01)
        assert got.deadline == pytest.approx(time.time() + 25.0, abs=20.0)
        got.discard()

    async def test_a_request_without_a_limit(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        caller.send(request_to(queue))
        got = await worker.next()
        assert got.time_left is None
        assert got.deadline is None
        assert got.content_encoding is None
        got.discard()

    async def test_a_reply_arrives_as_it_was_sent(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"cid-2"))
        headers: Headers = {
            "rb-error": "execution",
            "text": "grün",
            "number": -7,
            "tenth": 0.1,
            "yes": True,
            "raw": b"\x00\xff",
        }
        (await worker.next()).reply(Reply(b"the reply", "application/x-thing", "zstd", headers))
        correlation_id, reply = await soon(inbox.replies.get())
        assert correlation_id == b"cid-2"
        assert (bytes(reply.body), reply.content_type) == (b"the reply", "application/x-thing")
        assert reply.content_encoding == "zstd"
        assert {name: (reply.headers or {})[name] for name in headers} == headers

    @pytest.mark.parametrize("body", BODIES)
    async def test_bodies_are_not_touched(self, bench: Bench, body: bytes) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, body=body))
        got = await worker.next()
        assert bytes(got.body) == body
        got.reply(Reply(body[::-1], None, None))
        _, reply = await soon(inbox.replies.get())
        assert bytes(reply.body) == body[::-1]

    async def test_replies_find_their_callers(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        callers = [await bench.caller() for _ in range(3)]
        for number, (caller, _) in enumerate(callers):
            caller.send(request_to(queue, b"same id", b"%d" % number))
        for _ in callers:
            got = await worker.next()
            got.reply(Reply(bytes(got.body), None, None))
        for number, (_, inbox) in enumerate(callers):
            assert bytes((await soon(inbox.replies.get()))[1].body) == b"%d" % number

    async def test_nothing_comes_back_inside_send(self, bench: Bench) -> None:
        queue = bench.queue()
        caller, inbox = await bench.caller()
        caller.send(request_to(queue))
        assert inbox.refusals.empty()
        await soon(inbox.refusals.get())

    async def test_a_request_for_nobody_is_refused(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"lost"))
        correlation_id, refusal, detail = await soon(inbox.refusals.get())
        assert correlation_id == b"lost"
        assert issubclass(refusal, NoRouteError)
        assert detail
        await soon((await bench.transport()).serve(queue, worker))
        caller.send(request_to(queue, b"found"))
        assert bytes((await worker.next()).correlation_id) == b"found"

    async def test_every_routing_key_leads_to_the_queue(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        for key in queue.routing_keys:
            caller.send(request_to(queue, key.encode())._replace(routing_key=key))
            got = await worker.next()
            assert bytes(got.correlation_id) == key.encode()
            got.discard()

    async def test_a_reply_to_a_caller_that_has_gone_harms_nobody(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        gone = await bench.transport()
        caller, _ = await bench.caller(gone)
        caller.send(request_to(queue, b"gone"))
        got = await worker.next()
        await soon(gone.close())
        got.reply(Reply(b"too late", None, None))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"here"))
        (await worker.next()).reply(Reply(b"in time", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"here"

    async def test_a_closed_transport_sends_nothing(self, bench: Bench) -> None:
        transport = await bench.transport()
        caller, _ = await bench.caller(transport)
        await soon(transport.close())
        assert caller.paused
        with pytest.raises(ConnectionLostError) as waiting:
            await soon(caller.writable())
        assert waiting.value.executed is False
        with pytest.raises(ConnectionLostError) as sending:
            caller.send(request_to(bench.queue()))
        assert sending.value.executed is False

"""The transport protocol, in bytes: replies of several parts, and further messages of a call to its worker."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import ConnectionLostError, ContentRejectedError, NoRouteError
from rabibridge_core.transport import Reply, Request
from rabibridge_testing.conformance.harness import ConformanceBase, Inbox, Worker, request_to, soon, until

if TYPE_CHECKING:
    from rabibridge_core.transport import Caller, Headers, IncomingRequest, Transport
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, LimitMessages

__all__ = ["PartConformance"]

_SIZES = (1, 300_000, 2, 100_000, 1_500_000, 3, 300_000, 4)


def feed(address: str, correlation_id: bytes, body: bytes = b"", headers: Headers | None = None) -> Request:
    """Return a further message of a call."""
    return Request(address, correlation_id, body, "application/octet-stream", None, None, headers)


async def serve(bench: Bench, transport: Transport | None = None, *, fetch_size: int = 16) -> tuple[Worker, str]:
    """Serve a queue whose requests have addresses; return its worker and its routing key."""
    queue, worker = bench.queue(streams=True, fetch_size=fetch_size), Worker()
    await soon((transport or await bench.transport()).serve(queue, worker))
    return worker, queue.routing_keys[0]


async def ask(caller: Caller, key: str, worker: Worker, correlation_id: bytes) -> IncomingRequest:
    """Send a request and return it as the worker gets it."""
    caller.send(Request(key, correlation_id, b"", "application/octet-stream", None, None))
    return await worker.next()


async def sent(request: IncomingRequest, body: bytes, headers: Headers | None = None) -> None:
    """Send a part of a reply, and wait until the next one may be sent."""
    on_its_way = request.reply_part(Reply(body, None, None, headers))
    if on_its_way is not None:
        await soon(on_its_way)


async def bodies(inbox: Inbox, number: int) -> list[bytes]:
    """Return the bodies of the next replies."""
    return [bytes((await soon(inbox.replies.get()))[1].body) for _ in range(number)]


class PartConformance(ConformanceBase):
    """Parts of replies, and further messages of calls."""

    async def test_parts_come_in_order_and_before_the_reply(self, bench: Bench) -> None:
        worker, key = await serve(bench)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"many")
        for number in range(100):
            await sent(got, b"%d" % number, {"rb-part": "items", "rb-index": number})
        got.reply(Reply(b"end", None, None))
        for number in range(100):
            correlation_id, reply = await soon(inbox.replies.get())
            assert (correlation_id, bytes(reply.body)) == (b"many", b"%d" % number)
            assert (reply.headers or {})["rb-index"] == number
        assert await bodies(inbox, 1) == [b"end"]

    @pytest.mark.parametrize("waits", [True, False], ids=["one by one", "all at once"])
    async def test_parts_of_all_sizes_keep_their_order(self, bench: Bench, waits: bool) -> None:
        worker, key = await serve(bench)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"sizes")
        expected, last = [os.urandom(size) for size in _SIZES], os.urandom(400_000)
        for body in expected:
            on_its_way = got.reply_part(Reply(body, None, None))
            if waits and on_its_way is not None:
                await soon(on_its_way)
        got.reply(Reply(last, None, None))
        assert await bodies(inbox, len(expected) + 1) == [*expected, last]

    async def test_a_request_is_settled_by_its_reply_and_not_by_parts(self, bench: Bench) -> None:
        worker, key = await serve(bench, fetch_size=1)
        caller, inbox = await bench.caller()
        first = await ask(caller, key, worker, b"1")
        caller.send(Request(key, b"2", b"", "application/octet-stream", None, None))
        for _ in range(10):
            await sent(first, b"part")
        assert await bodies(inbox, 10) == [b"part"] * 10
        assert worker.requests.empty()
        first.reply(Reply(b"end", None, None))
        second = await worker.next()
        assert bytes(second.correlation_id) == b"2"
        second.discard()

    async def test_nothing_is_sent_once_it_is_settled(self, bench: Bench) -> None:
        worker, key = await serve(bench)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        got.reply(Reply(b"end", None, None))
        assert got.reply_part(Reply(b"too late", None, None)) is None
        assert got.address == ""
        (await ask(caller, key, worker, b"2")).reply(Reply(b"other", None, None))
        assert await bodies(inbox, 2) == [b"end", b"other"]

    async def test_an_accepted_request_has_parts_too(self, bench: Bench) -> None:
        worker, key = await serve(bench)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        got.accept()
        await sent(got, b"part")
        got.reply(Reply(b"end", None, None))
        assert await bodies(inbox, 2) == [b"part", b"end"]

    async def test_parts_of_a_void_request_are_not_sent(self, bench: Bench, break_connection: BreakConnection) -> None:
        transport = await bench.transport()
        worker, key = await serve(bench, transport)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        await sent(got, b"before")
        assert await bodies(inbox, 1) == [b"before"]
        await break_connection(transport)
        await soon(worker.losses.get())
        assert got.void
        assert got.reply_part(Reply(b"after", None, None)) is None
        again = await worker.next()
        assert again.redelivered
        await sent(again, b"again")
        again.reply(Reply(b"end", None, None))
        assert await bodies(inbox, 2) == [b"again", b"end"]

    async def test_a_part_that_is_too_large_for_the_broker(self, bench: Bench, limit_messages: LimitMessages) -> None:
        await limit_messages(200_000)
        worker, key = await serve(bench)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        await sent(got, b"small")
        for _ in range(2):
            refused = got.reply_part(Reply(bytes(250_000), None, None))
            assert refused is not None
            with pytest.raises(ContentRejectedError, match="250000"):
                await soon(refused)
        await sent(got, b"smaller")
        got.reply(Reply(b"end", None, None))
        assert await bodies(inbox, 3) == [b"small", b"smaller", b"end"]

    async def test_addresses(self, bench: Bench) -> None:
        one, other = await bench.transport(), await bench.transport()
        caller, _ = await bench.caller()
        found = []
        for transport in (one, one, other):
            worker, key = await serve(bench, transport)
            got = await ask(caller, key, worker, b"1")
            found.append(got.address)
            got.discard()
        assert found[0] == found[1] != found[2]
        assert all(len(address) >= 22 for address in found)
        plain, receiver = bench.queue(), Worker()
        await soon(one.serve(plain, receiver))
        assert (await ask(caller, plain.routing_keys[0], receiver, b"1")).address == ""

    async def test_a_message_arrives_as_it_was_sent(self, bench: Bench) -> None:
        worker, key = await serve(bench)
        caller, _ = await bench.caller()
        got = await ask(caller, key, worker, b"cid")
        await sent(got, b"open")
        message = feed(got.address, b"cid", b"\x00body\xce", {"rb-part": "items", "rb-index": 7, "yes": True})
        caller.feed(message._replace(content_type="application/x-thing", content_encoding="zstd"))
        sender, correlation_id, fed = await soon(worker.fed_messages.get())
        assert (sender, correlation_id, bytes(fed.body)) == (bytes(got.caller), b"cid", b"\x00body\xce")
        assert (fed.content_type, fed.content_encoding) == ("application/x-thing", "zstd")
        headers = fed.headers or {}
        assert (headers["rb-part"], headers["rb-index"], headers["yes"]) == ("items", 7, True)
        got.discard()

    async def test_messages_arrive_in_order_and_at_the_service_of_their_call(self, bench: Bench) -> None:
        transport = await bench.transport()
        first, second = await serve(bench, transport), await serve(bench, transport)
        caller, _ = await bench.caller()
        requests = [await ask(caller, key, worker, b"to-%d" % at) for at, (worker, key) in enumerate((first, second))]
        for request in requests:
            await sent(request, b"open")
        for number in range(200):
            for at, request in enumerate(requests):
                caller.feed(feed(request.address, b"to-%d" % at, os.urandom(number * 10), {"rb-index": number}))
        for at, (worker, _) in enumerate((first, second)):
            found: list[object] = []
            while len(found) < 200:
                _, correlation_id, fed = await soon(worker.fed_messages.get())
                if correlation_id == b"to-%d" % at:  # a worker may get those for others, too
                    found.append((fed.headers or {})["rb-index"])
            assert found == list(range(200))

    async def test_a_large_message(self, bench: Bench) -> None:
        worker, key = await serve(bench)
        caller, _ = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        await sent(got, b"open")
        body = os.urandom(3_000_000)
        caller.feed(feed(got.address, b"1", body))
        assert bytes((await soon(worker.fed_messages.get()))[2].body) == body

    async def test_a_message_to_nobody_is_refused_and_disturbs_no_call(self, bench: Bench) -> None:
        worker, key = await serve(bench)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        for number in range(20):
            caller.feed(feed("stream:" + "0" * 32, b"1", b"%d" % number))
        for _ in range(20):
            correlation_id, refusal, detail = await soon(inbox.refused_feeds.get())
            assert correlation_id == b"1"
            assert issubclass(refusal, NoRouteError)
            assert detail
        got.reply(Reply(b"end", None, None))
        assert await bodies(inbox, 1) == [b"end"]
        assert inbox.refusals.empty()
        assert inbox.confirms.empty()
        assert not caller.unconfirmed

    async def test_the_address_of_a_worker_that_has_closed(self, bench: Bench) -> None:
        transport = await bench.transport()
        worker, key = await serve(bench, transport)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        address = got.address
        got.discard()
        await soon(transport.close())
        caller.feed(feed(address, b"1"))
        assert issubclass((await soon(inbox.refused_feeds.get())).refusal, NoRouteError)

    async def test_a_new_connection_has_another_address(self, bench: Bench, break_connection: BreakConnection) -> None:
        transport = await bench.transport()
        worker, key = await serve(bench, transport)
        caller, inbox = await bench.caller()
        got = await ask(caller, key, worker, b"1")
        before = got.address
        await break_connection(transport)
        again = await worker.next()
        await sent(again, b"open")
        assert again.address not in ("", before)
        caller.feed(feed(before, b"1", b"old"))
        assert issubclass((await soon(inbox.refused_feeds.get())).refusal, NoRouteError)
        caller.feed(feed(again.address, b"1", b"new"))
        assert bytes((await soon(worker.fed_messages.get()))[2].body) == b"new"

    async def test_messages_are_no_unconfirmed_requests(self, bench: Bench, break_connection: BreakConnection) -> None:
        worker, key = await serve(bench)
        transport = await bench.transport()
        caller, inbox = await bench.caller(transport)
        got = await ask(caller, key, worker, b"1")
        await sent(got, b"open")
        assert await bodies(inbox, 1) == [b"open"]
        await until(lambda: b"1" not in caller.unconfirmed)
        for _ in range(50):
            caller.feed(feed(got.address, b"1", bytes(1000)))
        await break_connection(transport)
        await soon(inbox.losses.get())
        assert inbox.unconfirmed == set()
        await soon(caller.writable())
        caller.send(request_to(bench.queue(), b"2"))
        assert (await soon(inbox.refusals.get())).correlation_id == b"2"
        assert inbox.refused_feeds.empty()

    async def test_a_closed_transport_feeds_nothing(self, bench: Bench) -> None:
        transport = await bench.transport()
        assert transport.streams
        caller, _ = await bench.caller(transport)
        await soon(transport.close())
        with pytest.raises(ConnectionLostError) as refused:
            caller.feed(feed("stream:" + "0" * 32, b"1"))
        assert refused.value.executed is False

"""Broadcasts: requests that every worker of a service gets once and answers with its name."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import ContentRejectedError, NoRouteError, RemoteExecutionError
from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.broadcast_answers import (
    all_answers,
    answered_in_time,
    echo,
    end_of,
    nothing,
    until_answers,
)
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
    from rabibridge_testing.conformance.harness import Bench, BreakConnection, DeleteQueue

__all__ = ["BroadcastConformance"]


class BroadcastConformance(ConformanceBase):
    """``Caller.broadcast`` and ``client.broadcast``."""

    async def test_every_worker_gets_it_once_as_it_was_sent(self, bench: Bench) -> None:
        queue, workers = bench.queue(fetch_size=1), [Worker() for _ in range(3)]
        for worker in workers:
            await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.broadcast(request_to(queue, b"all", b"the body", timeout=25.0, headers={"trace": "abc"}))
        for number, worker in enumerate(workers):
            got = await soon(worker.broadcasts.get())
            assert (bytes(got.correlation_id), bytes(got.body)) == (b"all", b"the body")
            assert got.headers["trace"] == "abc"
            assert got.time_left == pytest.approx(25.0, abs=0.01)
            assert got.wants_reply
            assert not got.redelivered
            got.announce(Reply(b"", None, None, {"number": number}))
            got.reply(Reply(b"%d" % number, "text/plain", None))
        assert await soon(inbox.confirms.get()) == b"all"
        replies = [await soon(inbox.replies.get()) for _ in range(6)]
        assert {correlation_id for correlation_id, _ in replies} == {b"all"}
        assert sorted(bytes(reply.body) for _, reply in replies) == [b"", b"", b"", b"0", b"1", b"2"]
        assert all(worker.broadcasts.empty() for worker in workers)

    async def test_every_routing_key_reaches_the_worker(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        for key in queue.routing_keys:
            caller.broadcast(request_to(queue, key.encode())._replace(routing_key=key))
            got = await soon(worker.broadcasts.get())
            assert bytes(got.correlation_id) == key.encode()
            got.discard()

    async def test_without_workers_it_is_refused(self, bench: Bench) -> None:
        caller, inbox = await bench.caller()
        caller.broadcast(request_to(bench.queue(), b"nobody"))
        assert inbox.refusals.empty()  # nothing comes back inside broadcast()
        refused = await soon(inbox.refusals.get())
        assert refused.correlation_id == b"nobody"
        assert issubclass(refused.refusal, NoRouteError)

    async def test_settling_one_settles_no_request(self, bench: Bench) -> None:
        queue, worker = bench.queue(fetch_size=1), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, inbox = await bench.caller()
        caller.send(request_to(queue, b"call"))
        request = await worker.next()
        for settle in ("accept", "discard", "requeue", "dead letter"):
            caller.broadcast(request_to(queue, settle.encode()))
            got = await soon(worker.broadcasts.get())
            if settle == "accept":
                got.accept()
                got.discard()
            elif settle == "discard":
                got.discard()
            elif settle == "requeue":
                got.reject(requeue=True)
            else:
                got.dead_letter("not wanted")
            assert not got.void
        request.reply(Reply(b"done", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"call"
        assert worker.broadcasts.empty()

    async def test_cancelling_one(self, bench: Bench) -> None:
        queue, worker = bench.queue(), Worker()
        await soon((await bench.transport()).serve(queue, worker))
        caller, _ = await bench.caller()
        caller.broadcast(request_to(queue, b"not any more"))
        got = await soon(worker.broadcasts.get())
        caller.cancel(queue.routing_keys[0], b"not any more")
        assert await soon(worker.cancels.get()) == (bytes(got.caller), b"not any more")
        got.discard()

    async def test_each_worker_answers_with_its_name(self, bench: Bench) -> None:
        name = bench.name()
        servers = [await bench.server(service(echo, name)) for _ in range(3)]
        client = await bench.rpc_client()
        broadcast = client.broadcast(name, 7)
        assert broadcast.silent is None
        replies = await all_answers(broadcast)
        assert replies == {server.name: 7 for server in servers}
        assert end_of(broadcast) == ((), 0, True)
        assert (client.pending, client.stray_replies) == (0, 0)

    async def test_both_kinds_answer(self, bench: Bench) -> None:
        def square(number: int) -> int:
            return number * number

        name = bench.name()
        server = await bench.server(service(square, name))
        client = await bench.rpc_client()
        assert await all_answers(client.broadcast(name, 4)) == {server.name: 16}
        assert await all_answers(client.options(kind="sync").broadcast(name, 5)) == {server.name: 25}

    async def test_a_failure_is_the_answer_of_its_worker(self, bench: Bench) -> None:
        name = bench.name()

        async def fails() -> None:
            raise ValueError("not here")

        failing = await bench.server(service(fails, name))
        working = await bench.server(service(nothing, name))
        client = await bench.rpc_client()
        broadcast = client.broadcast(name)
        async with asyncio.timeout(PATIENCE):
            replies = {reply.worker: reply async for reply in broadcast}
        assert replies[working.name].ok
        assert replies[working.name].result is None
        assert isinstance(replies[failing.name].error, RemoteExecutionError)
        with pytest.raises(RemoteExecutionError, match="not here"):
            _ = replies[failing.name].result
        assert broadcast.complete

    async def test_there_is_no_such_service(self, bench: Bench) -> None:
        client = await bench.rpc_client()
        with pytest.raises(NoRouteError):
            await all_answers(client.broadcast(bench.name()))

    async def test_there_is_no_worker(self, bench: Bench) -> None:
        name = bench.name()
        await bench.server(service(nothing, name), start=False)
        client = await bench.rpc_client()
        broadcast = client.broadcast(name)
        assert await all_answers(broadcast) == {}
        assert broadcast.complete

    async def test_a_worker_that_does_not_answer_is_named(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        slow, quick = await bench.server(gate.service(name)), await bench.server(service(nothing, name))
        client = await bench.rpc_client()
        timeouts = longer(1.0)
        while True:
            timeout = next(timeouts)
            broadcast = client.options(timeout=timeout).broadcast(name)
            answered = await answered_in_time(broadcast)
            if answered and broadcast.missing and broadcast.silent is not None:  # all but the slow one were in time
                break
        assert answered == {quick.name}
        assert end_of(broadcast) == ((slow.name,), 0, False)
        await soon(gate.ended.get())  # its time is over there, too

    async def test_a_worker_that_knows_no_broadcasts_is_counted(self, bench: Bench) -> None:
        name = bench.name()
        schema = service(nothing, name)
        server = await bench.server(schema)
        deaf = Worker()
        await soon((await bench.transport()).serve(schema.queue, deaf))
        client = await bench.rpc_client()
        timeouts = longer(2.0)
        while True:
            timeout = next(timeouts)
            broadcast = client.options(timeout=timeout).broadcast(name)
            answered = await answered_in_time(broadcast)
            if answered and broadcast.silent is not None:  # the answer and the number of workers were in time
                break
        assert answered == {server.name}
        assert end_of(broadcast) == ((), 1, False)

    async def test_leaving_the_loop_cancels_what_still_runs(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        await bench.server(gate.service(name))
        await bench.server(service(nothing, name))
        client = await bench.rpc_client()
        async with asyncio.timeout(PATIENCE):
            async for _ in client.broadcast(name):
                break
        await soon(gate.ended.get())
        await until(lambda: not client._client.calls.broadcasts)

    async def test_it_takes_no_place_of_a_call(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        server = await bench.server(gate.service(name, "done", fetch_size=1))
        client = await bench.rpc_client()
        call = asyncio.ensure_future(client.call(name))
        await soon(gate.started.get())
        broadcasts = [
            asyncio.ensure_future(all_answers(client.options(timeout=PATIENCE).broadcast(name))) for _ in range(3)
        ]
        await soon(gate.started.get())  # one, beside the call; the others wait
        assert gate.most == 2
        gate.opened.set()
        assert await soon(call) == "done"
        for broadcast in broadcasts:
            assert await soon(broadcast) == {server.name: "done"}
        assert gate.most == 2

    @pytest.mark.parametrize("from_handlers", [False, True])
    async def test_fifty_at_once(self, bench: Bench, from_handlers: bool) -> None:
        client, name, asking = await bench.rpc_client(), bench.name(), bench.name("asking")

        async def ask(number: int) -> dict[str, Any]:
            return await all_answers(client.options(timeout=PATIENCE).broadcast(name, number))

        async def number_or_ask(number: int) -> Any:  # asked by a call, it asks all workers of its own service
            return await ask(number) if current_call().headers.get("asks") else number

        servers = [await bench.server(service(number_or_ask, name, fetch_size=1)) for _ in range(3)]
        await bench.server(service(ask, asking, fetch_size=5))
        if from_handlers:
            asker = client.options(headers={"asks": True}, timeout=PATIENCE)
            own = [asker.call(name, number) for number in range(25)]
            rest = [client.call(asking, number) for number in range(25, 50)]
            answers = await soon(asyncio.gather(*own, *rest))
        else:
            answers = await soon(asyncio.gather(*map(ask, range(50))))
        for number, answer in enumerate(answers):
            assert answer == {server.name: number for server in servers}
        assert client.stray_replies == 0

    async def test_it_is_complete_after_reconnections(
        self, bench: Bench, break_connection: BreakConnection, remove_queue: DeleteQueue
    ) -> None:
        name = bench.name()
        schema = service(echo, name)
        servers = [await bench.server(schema) for _ in range(2)]
        client, expected = await bench.rpc_client(), {server.name: 1 for server in servers}
        assert await all_answers(client.broadcast(name, 1)) == expected
        await break_connection(servers[0].transport)
        await until_answers(client, name, expected)
        await break_connection(client._client.transport)
        await until_answers(client, name, expected)
        await remove_queue(schema.queue_name)
        await until_answers(client, name, expected)
        await soon(servers[0].close())
        await until_answers(client, name, {servers[1].name: 1})

    async def test_a_worker_that_stops_finishes_it(self, bench: Bench) -> None:
        gate, name = Gate(), bench.name()
        server = await bench.server(gate.service(name, "done"))
        client = await bench.rpc_client()
        broadcast = asyncio.ensure_future(all_answers(client.options(timeout=PATIENCE).broadcast(name)))
        await soon(gate.started.get())
        closing = asyncio.ensure_future(server.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        gate.opened.set()
        assert await soon(broadcast) == {server.name: "done"}
        await soon(closing)

    async def test_one_that_is_too_large_is_not_sent(self, bench: Bench) -> None:
        name = bench.name()
        server = await bench.server(service(echo, name))
        client = await bench.rpc_client()
        with pytest.raises(ContentRejectedError, match="65536"):
            await all_answers(client.broadcast(name, os.urandom(65_536 - 6 + 1)))  # arguments take six bytes around it
        assert set(await all_answers(client.broadcast(name, os.urandom(65_536 - 6)))) == {server.name}

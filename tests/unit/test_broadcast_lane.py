"""Broadcasts on a worker: how many run and wait, what stops them, and what their callers are told."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.payloads import decode_reply, encode_request
from rabibridge_core._server.broadcasts import MAX_WAITING
from rabibridge_core.errors import (
    ConnectionLostError,
    InvalidArgumentsError,
    RemoteExecutionError,
)
from rabibridge_core.transport import Request
from rabibridge_testing import MemoryBroker
from rabibridge_testing.conformance import Bench
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import service
from tests.support.waiting import longer, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Caller
    from rabibridge_testing.conformance import Inbox

CODEC = Codec()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    broker = MemoryBroker()

    async def make() -> Any:
        return broker.transport()

    bench = Bench(make)
    yield bench
    await bench.close()


def _request(schema: ServiceSchema, correlation_id: bytes, *args: Any, **options: Any) -> Request:
    body, content_type, encoding = encode_request(CODEC, args, {}, correlation_id)
    return Request(schema.queue.routing_keys[0], correlation_id, body, content_type, encoding, None)._replace(**options)


async def _answer(inbox: Inbox, correlation_id: bytes) -> Any:
    """Return the answer to a broadcast, past the announcements."""
    while True:
        answered, reply = await soon(inbox.replies.get())
        assert reply.headers is not None
        assert {"rb-worker", "rb-worker-id"} <= set(reply.headers)
        if "rb-received" not in reply.headers and answered == correlation_id:
            return decode_reply(CODEC, reply, "service", correlation_id)


async def _full(bench: Bench) -> tuple[Gate, ServiceSchema, Caller, Inbox]:
    """Return a worker on which one broadcast runs and as many wait as may."""
    gate = Gate()
    schema = gate.service(bench.name(), "done", fetch_size=1)
    await bench.server(schema)
    caller, inbox = await bench.caller()
    for number in range(MAX_WAITING + 1):
        caller.broadcast(_request(schema, b"%d" % number))
    await soon(gate.started.get())
    return gate, schema, caller, inbox


async def test_one_runs_and_sixty_four_wait(bench: Bench) -> None:
    gate, schema, caller, inbox = await _full(bench)
    caller.broadcast(_request(schema, b"too many"))
    with pytest.raises(RemoteExecutionError, match="wait on this worker already") as refused:
        await _answer(inbox, b"too many")
    assert refused.value.executed is False
    assert gate.most == 1
    gate.opened.set()
    for number in range(MAX_WAITING + 1):
        assert await _answer(inbox, b"%d" % number) == "done"
    assert gate.most == 1


async def test_a_repetition_is_announced_and_not_run(bench: Bench) -> None:
    gate = Gate()
    schema = gate.service(bench.name())
    await bench.server(schema)
    caller, inbox = await bench.caller()
    other, other_inbox = await bench.caller()
    for sender in (caller, caller, other):
        sender.broadcast(_request(schema, b"once"))
    await soon(gate.started.get())
    gate.opened.set()
    await _answer(other_inbox, b"once")
    replies = [(await soon(inbox.replies.get()))[1].headers or {} for _ in range(3)]
    assert [headers.get("rb-received") for headers in replies] == [True, True, None]
    caller.broadcast(_request(schema, b"once"))
    assert ((await soon(inbox.replies.get()))[1].headers or {}).get("rb-received") is True
    assert gate.started.qsize() == 1  # that of the other caller


async def test_waiting_counts_as_time(bench: Bench) -> None:
    gate = Gate()
    schema = gate.service(bench.name(), "done")
    server = await bench.server(schema)
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"first"))
    await soon(gate.started.get())
    for timeout in longer(0.2):
        caller.broadcast(_request(schema, b"late after %g" % timeout, timeout=timeout))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await until(lambda: server.active_requests == 2)
            break  # it was in time to wait
    await until(lambda: server.active_requests == 1)  # it is dropped: its caller has given up
    gate.opened.set()
    assert await _answer(inbox, b"first") == "done"
    assert gate.started.empty()


async def test_cancelling_stops_the_one_that_runs_and_one_that_waits(bench: Bench) -> None:
    gate = Gate()
    schema = gate.service(bench.name())
    server = await bench.server(schema)
    caller, _ = await bench.caller()
    for name in (b"runs", b"waits", b"stays"):
        caller.broadcast(_request(schema, name))
    await soon(gate.started.get())
    caller.cancel(schema.queue.routing_keys[0], b"waits")
    await until(lambda: server.active_requests == 2)
    caller.cancel(schema.queue.routing_keys[0], b"runs")
    await soon(gate.ended.get())
    await soon(gate.started.get())
    assert server.active_requests == 1
    gate.opened.set()


async def test_one_that_was_cancelled_before_it_arrived_is_not_run(bench: Bench) -> None:
    gate = Gate()
    schema = gate.service(bench.name(), "done")
    server = await bench.server(schema)
    caller, inbox = await bench.caller()
    gate.opened.set()
    caller.cancel(schema.queue.routing_keys[0], b"cancelled")  # it takes another way to the worker, and may be first
    caller.broadcast(_request(schema, b"cancelled"))
    caller.broadcast(_request(schema, b"wanted"))
    assert await _answer(inbox, b"wanted") == "done"
    assert gate.started.qsize() == 1
    await until(lambda: server.active_requests == 0)


async def test_a_caller_that_is_gone_is_noticed_and_nothing_is_left(bench: Bench) -> None:
    gate, other = Gate(), Gate()
    schema, quick = gate.service(bench.name()), other.service(bench.name())
    other.opened.set()
    server = await bench.server(schema, quick)
    transport = await bench.transport()
    caller, _ = await bench.caller(transport)
    caller.broadcast(_request(schema, b"asked"))
    await soon(gate.started.get())
    caller.broadcast(_request(quick, b"answered in vain"))
    await transport.close()
    await soon(gate.ended.get())  # the reply that came back has told that the caller is gone
    await until(lambda: server.active_requests == 0)


async def test_a_function_in_a_thread_runs_beside_the_calls(bench: Bench) -> None:
    opened, running = threading.Event(), threading.Semaphore(0)

    def wait() -> str:
        running.release()
        assert opened.wait(30)
        return threading.current_thread().name

    schema = service(wait, bench.name(), fetch_size=1)
    await bench.server(schema)
    client = await bench.client()
    call = asyncio.ensure_future(client.call(schema.name, (), {}, CallOptions("sync", 30)))
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"beside"))
    for _ in range(2):
        await asyncio.to_thread(running.acquire)
    opened.set()
    assert await soon(call)
    assert await _answer(inbox, b"beside")


async def test_arguments_are_validated(bench: Bench) -> None:
    async def double(number: int) -> int:
        return 2 * number

    schema = service(double, bench.name(), validate=True)
    await bench.server(schema)
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"good", "21"))
    assert await _answer(inbox, b"good") == 42
    caller.broadcast(_request(schema, b"bad", "many"))
    with pytest.raises(InvalidArgumentsError):
        await _answer(inbox, b"bad")


@pytest.mark.parametrize("body", [b"\xc1", b"", b"\x2a"])
async def test_one_that_cannot_be_read_is_answered(bench: Bench, body: bytes) -> None:
    schema = Gate().service(bench.name())
    await bench.server(schema)
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"garbled", body=body))
    with pytest.raises(RemoteExecutionError) as refused:
        await _answer(inbox, b"garbled")
    assert refused.value.executed is False


async def test_one_with_a_key_is_refused(bench: Bench) -> None:
    schema = Gate().service(bench.name())
    await bench.server(schema)
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"key", headers={"rb-key": "x"}))
    with pytest.raises(InvalidArgumentsError):
        await _answer(inbox, b"key")


async def test_a_new_version_of_the_function_answers_the_next(bench: Bench) -> None:
    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    name = bench.name()
    schema = service(one, name)
    server = await bench.server(schema)
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"before"))
    assert await _answer(inbox, b"before") == 1
    await server.change([], [service(two, name)])
    caller.broadcast(_request(schema, b"after"))
    assert await _answer(inbox, b"after") == 2


async def test_a_worker_that_stops_answers_what_it_does_not_finish(bench: Bench) -> None:
    gate = Gate()
    schema = gate.service(bench.name())
    server = await bench.server(schema, drain_timeout=0.05)
    caller, inbox = await bench.caller()
    for name in (b"begun", b"waits"):
        caller.broadcast(_request(schema, name))
    await soon(gate.started.get())
    closing = asyncio.ensure_future(server.close())
    with pytest.raises(RemoteExecutionError, match="stopped before it began") as not_begun:
        await _answer(inbox, b"waits")
    assert not_begun.value.executed is False
    with pytest.raises(ConnectionLostError):
        await _answer(inbox, b"begun")
    await soon(closing)
    assert gate.running == 0
    caller.broadcast(_request(schema, b"too late"))
    assert (await soon(inbox.refusals.get())).correlation_id == b"too late"


async def test_a_worker_that_stops_serving_the_function_gets_no_more(bench: Bench) -> None:
    gate = Gate()
    schema, other = gate.service(bench.name()), Gate().service(bench.name())
    server = await bench.server(schema, other)
    await server.remove(schema.name)
    caller, inbox = await bench.caller()
    caller.broadcast(_request(schema, b"gone"))
    assert (await soon(inbox.refusals.get())).correlation_id == b"gone"

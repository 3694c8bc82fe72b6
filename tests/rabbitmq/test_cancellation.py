"""Calls that nobody waits for any more are stopped on the worker, or never begin."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.rabbitmq.support import Gate, ctl, until_waiting, vhost_of, waiting_in
from tests.support.services import new_echo
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from rabibridge_core.introspection import Pong
    from rabibridge_testing.conformance.harness import Bench
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker


@pytest.fixture(params=["own queue", "direct reply-to"], autouse=True)
def _replies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", str(request.param == "direct reply-to"))


async def _cancel(*calls: asyncio.Task[Any]) -> None:
    for call in calls:
        call.cancel()
    await soon(asyncio.wait(calls))
    assert all(call.cancelled() for call in calls)


async def test_a_cancelled_call_is_cancelled_on_its_worker_and_the_others_go_on(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(20)]
    await gate.holds(20)
    await _cancel(*calls[::2])
    await until(lambda: gate.cancelled == 10)
    gate.opened.set()
    assert await soon(asyncio.gather(*calls[1::2])) == list(range(1, 20, 2))
    assert gate.cancelled == 10
    assert client.pending == 0


async def test_a_call_cancelled_before_a_worker_had_it_never_begins(stage: Stage) -> None:
    gate, last = Gate(), Gate()
    functions = gate.function(), last.function()
    name, other = stage.register(functions[0], fetch_size=1), stage.register(functions[1])
    await stage.server(*functions)
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(5)]
    marker = asyncio.create_task(client.remote_call(other))
    assert await gate.holds(1) == [0]
    await last.holds(1)
    await until_waiting(stage.url, f"rpc_async_{name}", 4)
    await _cancel(*calls[1:4], marker)
    await until(lambda: last.cancelled == 1)  # the worker hears of them in their order
    gate.opened.set()
    assert [await soon(call) for call in (calls[0], calls[4])] == [0, 4]
    assert await gate.holds(1) == [4]
    assert gate.started.empty()


async def test_a_client_that_closes_cancels_what_it_waits_for(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,), ftype="any")) for number in range(5)]
    await gate.holds(5)
    await soon(client.close())
    await until(lambda: gate.cancelled == 5)
    await soon(asyncio.wait(calls))


async def test_where_cancels_are_forbidden_the_services_go_on_without(
    stage: Stage, users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rabibridge")
    gate, echo = Gate(), new_echo()
    names = [stage.register(gate.function()), stage.register(echo)]
    function = gate.function()
    function.__name__ = names[0]
    url = await users.add("^rpc.*", ".*", ".*")  # amq.gen-... is not among what it may declare
    server = stage.new_server(url=url)
    server.add_service(function)
    server.add_service(echo)
    await soon(server.connect())
    stage.start(server)
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(names[0]))
    await gate.holds(1)
    await _cancel(call)
    assert await soon(client.remote_call(names[1], (1,))) == 1  # the cancel was sent before that
    assert gate.running == 1
    gate.opened.set()
    await until(lambda: gate.running == 0)
    assert gate.cancelled == 0
    told = [record.getMessage() for record in caplog.records if "cancel" in record.getMessage().lower()]
    assert len([text for text in told if "run to completion" in text and "amq.gen" in text]) == 1, told


async def test_the_queue_for_cancels_is_deleted(
    stage: Stage, governed: Broker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabibridge._transport.binding_watch._LOOK_INTERVAL", 0.5)
    caplog.set_level(logging.INFO, "rabibridge")
    name = await stage.serve(new_echo())
    client = await stage.client()
    assert await soon(client.remote_call(name, (1,))) == 1
    vhost = vhost_of(stage.url)
    rows = await ctl(governed, "list_queues", "-p", vhost, "name", "arguments")
    (queue,) = [queue for queue, arguments in rows if queue.startswith("amq.") and "x-expires" in arguments]
    await ctl(governed, "delete_queue", "-p", vhost, queue)
    await until(lambda: "no more cancellations are received" in caplog.text)
    assert await soon(client.remote_call(name, (2,))) == 2
    pongs: tuple[Pong, ...] = ()
    async with asyncio.timeout(60):
        while not pongs:  # the queue is declared again within seconds
            pongs = await client.ping(timeout=1)


async def test_what_a_foreign_program_sends_as_a_cancel_matters_to_nobody(stage: Stage, raw: Any) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name, (7,)))
    await gate.holds(1)
    for body in (b"", b"\xff", f"async_{name}".encode(), b"x" * 1000):
        await raw.basic_publish(body, exchange="rpc", routing_key=f"cancel:async_{name}")
    gate.opened.set()
    assert await soon(call) == 7
    assert await soon(waiting_in(stage.url, f"rpc_async_{name}")) == 0


async def test_a_key_too_long_for_a_cancel_is_not_cancelled(bench: Bench) -> None:
    transport = await bench.transport()
    caller, _ = await bench.caller(transport)
    caller.cancel("k" * 255, b"1")
    caller.cancel("k" * 248, b"1")
    assert not caller.paused

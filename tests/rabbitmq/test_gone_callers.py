"""Workers notice that a caller is gone, and stop what only it has waited for."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.harness import Inbox, Worker, request_to
from tests.rabbitmq.support import Gate
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench
    from tests.rabbitmq.support import Stage

EMPTY = Reply(b"", None, None)


@pytest.mark.parametrize("options", [{}, {"timeout": 600.0}, {"headers": {"a": 1}}], ids=str)
async def test_a_probe_finds_that_a_caller_was_killed(bench: Bench, options: dict[str, Any]) -> None:
    queue, worker = bench.queue(), Worker()
    await soon((await bench.transport()).serve(queue, worker))
    transport: Any = await bench.transport()
    caller, inbox = await bench.caller(transport)
    caller.send(request_to(queue, b"asked", **options))
    request = await worker.next()
    for _ in range(10):
        request.probe()
    caller.send(request_to(queue, b"later"))
    (await worker.next()).reply(EMPTY)
    assert (await soon(inbox.replies.get()))[0] == b"later"  # which came after the probes
    assert inbox.replies.empty()
    assert worker.gone.empty()
    transport.abort()  # the next connection is another caller

    async def noticed() -> bool:
        request.probe()
        return not worker.gone.empty()

    await until_true(noticed)
    assert await soon(worker.gone.get()) == request.caller
    request.discard()
    request.probe()  # without effect, as it is settled


async def test_callers_who_cannot_be_probed_are_left_alone(
    bench: Bench, raw: Any, vhost_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, worker = bench.queue(), Worker()
    await soon((await bench.transport()).serve(queue, worker))
    foreign = (await raw.queue_declare("", exclusive=True)).queue
    received: asyncio.Queue[Any] = asyncio.Queue()
    await raw.basic_consume(foreign, received.put, no_ack=True)
    await raw.basic_publish(
        b"", exchange="rpc", routing_key=queue.routing_keys[0],
        properties=spec.Basic.Properties(reply_to=foreign, correlation_id="1"),
    )  # fmt: skip
    of_foreign = await worker.next()
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", "true")
    direct = RabbitMQTransport(load_settings(url=vhost_url), "direct")
    await soon(direct.connect())
    caller = await soon(direct.open_caller(inbox := Inbox()))
    caller.send(request_to(queue, b"2", timeout=600.0))
    caller.send(request_to(queue, b"3"))
    of_direct = [await worker.next(), await worker.next()]
    for request in (of_foreign, *of_direct):
        request.probe()
        request.reply(EMPTY)
    assert [(await soon(inbox.replies.get()))[0] for _ in range(2)] == [b"2", b"3"]
    assert (await soon(received.get())).header.properties.correlation_id == "1"  # the first that came
    assert worker.gone.empty()
    await soon(direct.close())


async def test_a_caller_whose_reply_queue_was_gone_and_is_back_is_answered(bench: Bench, raw: Any) -> None:
    queue, worker = bench.queue(fetch_size=1), Worker()  # it takes the second request after the first is settled
    await soon((await bench.transport()).serve(queue, worker))
    mine = f"amq_{uuid.uuid4().hex}"  # as a robust connection of aio-pika names its queues
    received: asyncio.Queue[Any] = asyncio.Queue()
    for number in ("1", "2"):
        await raw.queue_declare(mine, exclusive=True)
        await raw.basic_publish(
            b"", exchange="rpc", routing_key=queue.routing_keys[0],
            properties=spec.Basic.Properties(reply_to=mine, correlation_id=number),
        )  # fmt: skip
        request = await worker.next()
        if number == "1":
            await raw.queue_delete(mine)  # as when its owner starts anew; this reply is returned
        else:
            await raw.basic_consume(mine, received.put, no_ack=True)
        request.reply(EMPTY)
    assert (await soon(received.get())).header.properties.correlation_id == "2"
    assert worker.gone.empty()


async def test_the_calls_of_a_client_that_was_killed_are_stopped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge_core._server.service.MAINTENANCE_INTERVAL", 0.5)
    gate, kept = Gate(), Gate()
    name, other = stage.register(gate.function()), stage.register(kept_gate := kept.function())
    function = gate.function()
    function.__name__ = name
    server = stage.new_server()
    server.add_service(function)
    server.add_service(kept_gate)
    await soon(server.connect())
    stage.start(server)
    client, bystander = await stage.client(), await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(5)]
    staying = asyncio.create_task(bystander.remote_call(name, (5,)))
    durable = asyncio.create_task(client.remote_call(other, persistent=True))
    await gate.holds(6)
    await kept.holds(1)
    client._transport.abort()  # type: ignore[attr-defined]
    await until(lambda: gate.cancelled == 5)
    await soon(asyncio.wait((*calls, durable)))
    assert kept.running == 1
    gate.opened.set()
    kept.opened.set()
    assert await soon(staying) == 5
    await until(lambda: kept.running == 0)
    assert kept.cancelled == 0

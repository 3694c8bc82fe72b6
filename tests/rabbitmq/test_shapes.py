"""Notifications and broadcasts on a RabbitMQ: killed and frozen workers, killed callers, restarts and permissions."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from rabibridge import RMQClient, RMQServer
from tests.rabbitmq.support import Gate, ctl, vhost_of
from tests.rabbitmq.workers import started
from tests.support import fork_server
from tests.support.broadcasts import all_results, in_time
from tests.support.fork_server import server_of_commands
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tests.rabbitmq.workers import Workers
    from tools.broker import Broker

_ASKER = """
import asyncio, os, sys
from rabibridge import RMQClient

async def main():
    async with RMQClient() as client:
        async for reply in client.options(timeout=60).broadcast(sys.argv[1], 1):
            print(reply.worker, flush=True)

asyncio.run(main())
"""


async def _queues(broker: Broker, url: str) -> list[list[str]]:
    return await ctl(broker, "list_queues", "-p", vhost_of(url), "name")


async def test_one_that_is_killed_after_it_has_received_it_is_named(stage: Stage, workers: Workers) -> None:
    killed, other = await workers.start(), await workers.start()
    client = await stage.client()
    broadcast = client.options(timeout=10.0).broadcast(f"work_{workers.name}", 1)
    answers = asyncio.ensure_future(all_results(broadcast))
    await started(killed, 1)
    await started(other, 1)
    await until(lambda: len(broadcast.missing) == 2)
    killed.kill()
    other.write_line()
    assert [pid for _, pid in (await soon(answers)).values()] == [other.pid]
    assert len(broadcast.missing) == 1
    assert f":{killed.pid}" in broadcast.missing[0]


async def test_one_that_is_frozen_is_counted(stage: Stage, workers: Workers) -> None:
    frozen, other = await workers.start(), await workers.start()
    client = await stage.client()
    frozen.send(signal.SIGSTOP)
    try:
        broadcast, answers = await in_time(
            3.0, lambda seconds: client.options(timeout=seconds).broadcast(f"work_in_a_thread_{workers.name}", 1)
        )
        assert [pid for _, pid in answers.values()] == [other.pid]
        assert (broadcast.missing, broadcast.silent, broadcast.complete) == ((), 1, False)
    finally:
        frozen.send(signal.SIGCONT)
    broadcast = client.broadcast(f"work_in_a_thread_{workers.name}", 2)
    assert {pid for _, pid in (await soon(all_results(broadcast))).values()} == {frozen.pid, other.pid}
    assert await started(frozen, 1) == ["started 2"]  # the time of the first one was over when it woke


async def test_one_that_loses_its_connection_answers_on_the_next(stage: Stage) -> None:
    gate = Gate()
    function = gate.function()
    name = stage.register(function)
    server = await stage.server(function)
    await server.wait_serving()
    client = await stage.client()
    answers = asyncio.ensure_future(all_results(client.options(timeout=30.0).broadcast(name, "kept")))
    assert await gate.holds(1) == ["kept"]
    server._transport.abort()  # type: ignore[attr-defined]
    await until(lambda: not server.health().ok)
    gate.opened.set()
    assert await soon(answers) == {server.name: "kept"}
    assert gate.started.empty()


async def test_killed_askers_leave_nothing_behind(
    stage: Stage, rabbitmq: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    function = gate.function()
    name = stage.register(function)
    server = await stage.server(function)
    await server.wait_serving()
    before = sorted(await _queues(rabbitmq, stage.url))
    environment = os.environ | {"RABIBRIDGE_URL": stage.url}
    askers = [fork_server.start(server_of_commands, ["-c", _ASKER, name], env=environment) for _ in range(8)]
    await gate.holds(1)
    await until(lambda: server._server.active_requests == len(askers))
    for asker in askers:
        asker.kill()
        asker.wait()
    gate.opened.set()
    await until(lambda: server._server.active_requests == 0)
    await until_true(lambda: _are(rabbitmq, stage.url, before))
    client = await stage.client()
    assert await soon(all_results(client.broadcast(name, "still there"))) == {server.name: "still there"}
    logged = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert [record.message for record in logged if not record.name.endswith("loop_monitor")] == []  # a busy machine


async def _are(broker: Broker, url: str, expected: list[list[str]]) -> bool:
    return sorted(await _queues(broker, url)) == expected


@pytest.mark.parametrize("direct", [False, True], ids=["reply queue", "direct reply-to"])
async def test_a_caller_who_may_only_write_to_the_exchange(
    stage: Stage, users: Users, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.opened.set()
    function = gate.function()
    name = stage.register(function)
    servers = [await stage.server(function, name=f"worker {number}") for number in range(2)]
    for server in servers:
        await server.wait_serving()
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", str(direct))
    own = "^$" if direct else "^amq\\.gen-.*"
    client = await stage.client(url=await users.add(own, "^rpc$", own))
    for number in range(3):
        broadcast = client.broadcast(name, number)
        assert await soon(all_results(broadcast)) == {"worker 0": number, "worker 1": number}
        assert broadcast.complete
    while not gate.started.empty():
        gate.started.get_nowait()
    await soon(client.notify(name, "told"))
    assert await gate.holds(1) == ["told"]


async def test_a_worker_without_a_queue_of_its_own_is_counted(stage: Stage, users: Users) -> None:
    gate = Gate()
    gate.opened.set()
    function = gate.function()
    name = stage.register(function)
    full = await stage.server(function, name="full")
    await full.wait_serving()
    url = await users.add("^(rpc.*)$", ".*", ".*")
    lesser = await stage.server(function, name="lesser", url=url)
    await lesser.wait_serving()
    client = await stage.client()
    broadcast, answers = await in_time(1.5, lambda seconds: client.options(timeout=seconds).broadcast(name, 1))
    assert answers == {"full": 1}
    assert (broadcast.missing, broadcast.silent) == ((), 1)


@pytest.mark.slow
async def test_a_notification_survives_a_restart_of_the_broker(
    own_node: Broker, unique_name: Callable[[str], str]
) -> None:
    name, ran = unique_name("told"), asyncio.Queue[int]()

    async def told(number: int) -> None:
        ran.put_nowait(number)

    server = RMQServer(url=own_node.url)
    server.add_service(told, name=name)
    async with server:
        pass  # its queue exists now
    async with RMQClient(url=own_node.url) as client:
        await soon(client.notify(name, 1))
        await soon(client.options(persistent=False).notify(name, 2))
    own_node.kill()
    await asyncio.to_thread(own_node.start)
    server = RMQServer(url=own_node.url)
    server.add_service(told, name=name)
    async with server.serving(), RMQClient(url=own_node.url) as client:
        assert await soon(ran.get()) == 1
        await soon(client.notify(name, 3))
        assert await soon(ran.get()) == 3


@pytest.mark.slow
async def test_thousands_of_looks_at_queues_that_do_not_exist(stage: Stage) -> None:
    client = await stage.client()
    caller = client._client.calls.caller
    assert caller is not None
    for _ in range(5):  # more, in all, than a connection has channels: the broker closes one for each
        assert set(await soon(asyncio.gather(*(caller.look("missing") for _ in range(450))))) == {None}
    assert client.health().ok
    assert client._client.calls.caller is caller


async def test_what_is_no_broadcast_harms_no_worker(stage: Stage, raw: Any) -> None:
    import aiormq

    gate = Gate()
    gate.opened.set()
    function = gate.function()
    name = stage.register(function)
    server = await stage.server(function)
    await server.wait_serving()
    key = f"async_{name}"
    wrong: list[dict[str, Any]] = [
        {"headers": {"rb-broadcast": key}},  # nowhere to reply to
        {"headers": {"rb-broadcast": 7}, "reply_to": "amq.gen-x", "correlation_id": "1"},
        {"headers": {"rb-broadcast": "async_other"}, "reply_to": "amq.gen-x", "correlation_id": "1"},
        {"headers": {"rb-broadcast": key}, "reply_to": f"rpc_async_{name}", "correlation_id": "1"},
        {"headers": {"rb-broadcast": key}, "reply_to": "amq.gen-x", "correlation_id": "x" * 255},
        {"headers": {"trace": "a cancellation with a header"}, "reply_to": "amq.gen-x", "correlation_id": "1"},
    ]
    for properties in wrong:
        for body in (b"", b"\xc1", json.dumps([[1], {}]).encode(), b"x" * 70_000):
            basic = aiormq.spec.Basic.Properties(content_type="application/json", **properties)
            await raw.basic_publish(body, exchange="rpc", routing_key=f"cancel:{key}", properties=basic)
    client = await stage.client(url=str(URL(stage.url)))
    assert await soon(all_results(client.broadcast(name, "fine"))) == {server.name: "fine"}
    assert server.health().ok

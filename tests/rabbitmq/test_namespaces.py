"""Namespaces keep systems on one virtual host apart, by names of their own for everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConfigurationError, RMQServer
from rabibridge._operations.dead_letters import DeadLetters
from rabibridge._operations.operator_session import operator_session
from rabibridge._operations.service_queues import OperatedQueues
from rabibridge_core.settings import load_settings
from tests.rabbitmq.every_shape import every_shape, no_route, offer
from tests.rabbitmq.support import Stage, ctl, vhost_of
from tests.support.waiting import PATIENCE, soon, until_true

if TYPE_CHECKING:
    import aiormq

    from tools.broker import Broker


async def _serving(stage: Stage, end: str, **options: Any) -> Any:
    server = stage.new_server(**options)
    offered = offer(server, end)
    await soon(server.connect())
    stage.start(server)
    return offered


async def test_services_of_equal_names_never_meet(stage: Stage, governed: Broker) -> None:
    end = "same.name-1"
    offered = {name: await _serving(stage, end, namespace=name) for name in ("billing", "pay-roll")}
    outside = await _serving(stage, end)
    clients = {name: await stage.client(namespace=name) for name in (*offered, "nobody")}
    plain = await stage.client()
    for name, one in offered.items():
        await every_shape(clients[name], one)
    await every_shape(plain, outside)
    assert await no_route(clients["nobody"], outside.names[0])
    assert await soon(clients["nobody"].ping(timeout=1)) == ()
    assert all(one.notes.empty() for one in (outside, *offered.values()))

    rows = await ctl(governed, "list_exchanges", "-p", vhost_of(stage.url), "name", "type")
    types = {name: kind for name, kind in rows if not name.startswith("amq.") and name}
    plain_names = ("rpc", "rpc_any", "rpc_any_sync")
    assert types == {
        **dict.fromkeys(plain_names, "direct"),
        **{f"{name}:{plain}": "topic" for name in clients for plain in plain_names if name != "nobody"},
        "nobody:rpc": "topic",
    }
    names = {row[0] for row in await ctl(governed, "list_queues", "-p", vhost_of(stage.url), "name")}
    services = {"rpc_" + ("sync_" if "blocking" in name else "async_") + name for name in outside.names}
    expected = services | {f"{name}:{queue}" for name in offered for queue in services}
    assert {name for name in names if not name.startswith("amq.gen-")} == expected


async def test_an_exchange_of_another_type_is_an_error(stage: Stage, raw: aiormq.abc.AbstractChannel) -> None:
    await raw.exchange_declare("billing:rpc", exchange_type="direct", durable=True)
    expected = r"'billing:rpc' cannot be declared as topic.*current is 'direct'"
    with pytest.raises(ConfigurationError, match=expected):
        await stage.client(namespace="billing")
    server = stage.new_server(namespace="billing")
    offer(server, "x")
    with pytest.raises(ConfigurationError, match=expected):
        await soon(server.connect())


async def test_a_name_that_becomes_too_long(stage: Stage) -> None:
    async def function() -> None: ...

    server = stage.new_server(namespace="n" * 32)
    server.add_service(function, name="s" * 200, classes={"first": 1, "c" * 32: 1})
    with pytest.raises(ConfigurationError, match="276 bytes, and AMQP allows 255: shorten the namespace"):
        await soon(server.connect())


async def test_operators_see_one_namespace(stage: Stage, vhost_url: str) -> None:
    async def stubborn() -> None:
        raise SystemExit

    def settings(namespace: str | None) -> Any:
        return load_settings(url=vhost_url, namespace=namespace)

    server = RMQServer(url=vhost_url, namespace="billing")
    server.add_service(stubborn, name="stubborn")
    await soon(server.connect())
    await server.close()
    client = await stage.client(namespace="billing")
    await soon(client.options(timeout=PATIENCE).notify("stubborn"))
    async with operator_session(settings("billing"), "test") as session:
        queues = OperatedQueues(session)
        for name in ("stubborn", "rpc_async_stubborn", "billing:rpc_async_stubborn"):
            assert [(state.name, state.waiting) for state in await queues.find([name])] == [
                ("billing:rpc_async_stubborn", 1)
            ]
        with pytest.raises(ConfigurationError, match="is not a service name"):
            await queues.find(["payroll:rpc_async_stubborn"])
    async with operator_session(settings(None), "test") as session:
        assert await OperatedQueues(session).find(["stubborn"]) == []


async def test_dead_letters_stay_in_their_namespace(stage: Stage, vhost_url: str, raw: Any) -> None:
    async def add(a: int) -> int:
        return a

    server = stage.new_server(namespace="billing", accept=["msgpack"])
    server.add_service(add, name="add")
    await soon(server.connect())
    stage.start(server)
    await raw.queue_bind((await raw.queue_declare("", exclusive=True)).queue, "billing:rpc", "async_add")
    await raw.basic_publish(b"\xc1", exchange="billing:rpc", routing_key="async_add")  # no reply is wanted

    async def letters(namespace: str | None) -> list[Any]:
        async with operator_session(load_settings(url=vhost_url, namespace=namespace), "test") as session:
            return (await DeadLetters(session).list()).letters

    async def arrived() -> bool:
        return bool(await letters("billing"))

    await until_true(arrived)
    (letter,) = await letters("billing")
    assert (letter.service, letter.queue, letter.foreign) == ("add", "billing:rpc_async_add", False)
    assert await letters(None) == []
    async with operator_session(load_settings(url=vhost_url, namespace="billing"), "test") as session:
        report = await DeadLetters(session).requeue(timeout=PATIENCE)
        assert [one.id for one in report.requeued] == [letter.id]
    await until_true(arrived)  # it is refused again
    # A letter that claims to come from elsewhere is not moved there.
    forged: Any = {"rb-dead-queue": "payroll:rpc_async_add"}
    import aiormq

    await raw.basic_publish(
        b"", routing_key="billing:rpc.dead", properties=aiormq.spec.Basic.Properties(headers=forged)
    )

    async def forged_arrived() -> bool:
        return len(await letters("billing")) == 2

    await until_true(forged_arrived)
    assert sorted(one.foreign for one in await letters("billing")) == [False, True]

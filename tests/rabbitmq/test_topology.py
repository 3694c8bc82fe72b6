"""Exchanges, queues and bindings on the broker, and what happens where they exist already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
import pytest

from rabibridge import ConfigurationError
from tests.rabbitmq.support import Gate, ctl, until_call_gives, until_waiting, vhost_of, waiting_in
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage
    from tools.broker import Broker


async def _arguments(broker: Broker, url: str, queue: str) -> str:
    """Return the arguments of a queue as rabbitmqctl prints them, in the order of their names."""
    rows = await ctl(broker, "list_queues", "-p", vhost_of(url), "name", "arguments")
    (printed,) = [arguments for name, arguments in rows if name == queue]
    return printed


async def _answer(number: int = 42) -> int:
    return number


def _answering(result: Any) -> Any:
    async def answer() -> Any:
        return result

    return answer


async def test_what_a_service_declares(stage: Stage, governed: Broker) -> None:
    async def limited() -> None: ...

    def unlimited() -> None: ...

    one, other = stage.register(limited, queue_size=7, fetch_size=3, timeout=2.5), stage.register(unlimited)
    await stage.server(limited, unlimited, start=False)
    vhost = vhost_of(stage.url)
    queues = await ctl(governed, "list_queues", "-p", vhost, "name", "durable", "auto_delete", "exclusive", "arguments")
    rows = {row[0]: row[1:] for row in queues}
    assert rows[f"rpc_async_{one}"] == [
        "true", "false", "false",
        '[{"x-max-length",7},{"x-message-ttl",2500},{"x-overflow","reject-publish"},{"x-queue-type","classic"}]',
    ]  # fmt: skip
    assert rows[f"rpc_sync_{other}"] == [
        "true", "false", "false", '[{"x-overflow","reject-publish"},{"x-queue-type","classic"}]',
    ]  # fmt: skip

    exchanges = await ctl(governed, "list_exchanges", "-p", vhost, "name", "type", "durable", "auto_delete", "internal")
    for exchange in ("rpc", "rpc_any", "rpc_any_sync"):
        assert [exchange, "direct", "true", "false", "false"] in exchanges

    bindings = await ctl(
        governed, "list_bindings", "-p", vhost, "source_name", "routing_key", "destination_kind", "destination_name"
    )
    (to_worker,) = [destination for _, key, _, destination in bindings if key == "cancel:control"]
    assert to_worker.startswith("amq.gen-")
    assert sorted(row for row in bindings if row[0].startswith("rpc") and row[3] != to_worker) == sorted(
        [
            ["rpc", f"async_{one}", "queue", f"rpc_async_{one}"],
            ["rpc", f"any:{one}", "exchange", "rpc_any"],
            ["rpc_any", f"any:{one}", "queue", f"rpc_async_{one}"],
            ["rpc", f"sync_{other}", "queue", f"rpc_sync_{other}"],
            ["rpc", f"any:{other}", "exchange", "rpc_any"],
            ["rpc_any_sync", f"any:{other}", "queue", f"rpc_sync_{other}"],
        ]
    )


async def test_what_a_service_with_a_quorum_queue_declares(stage: Stage, governed: Broker) -> None:
    async def limited() -> None: ...
    async def once() -> None: ...

    one = stage.register(limited, queue_size=7, timeout=2.5, queue_type="quorum", redelivery_limit=3)
    other = stage.register(once, queue_type="quorum", delivery="at-most-once")
    await stage.server(limited, once, start=False)
    rows = await ctl(governed, "list_queues", "-p", vhost_of(stage.url), "name", "type", "durable")
    for name in (one, other):
        assert [f"rpc_async_{name}", "quorum", "true"] in rows
    assert await _arguments(governed, stage.url, f"rpc_async_{one}") == (
        '[{"x-delivery-limit",8},{"x-max-length",7},{"x-message-ttl",2500},{"x-overflow","reject-publish"}'
        ',{"x-queue-type","quorum"}]'
    )
    assert await _arguments(governed, stage.url, f"rpc_async_{other}") == (
        '[{"x-overflow","reject-publish"},{"x-queue-type","quorum"}]'
    )


async def test_what_a_running_service_consumes(stage: Stage, governed: Broker) -> None:
    gate = Gate()
    name = await stage.serve(gate.function(), fetch_size=3)
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await gate.holds(1)
    rows = await ctl(
        governed, "list_consumers", "-p", vhost_of(stage.url), "queue_name", "ack_required", "prefetch_count"
    )
    assert [row for row in rows if row[0] == f"rpc_async_{name}"] == [[f"rpc_async_{name}", "true", "3"]]
    others = [row for row in rows if row[0] != f"rpc_async_{name}"]
    # The callback queue and the one for cancels: exclusive, and consumed without acknowledgements.
    assert [row[1] for row in others] == ["false", "false"]
    gate.opened.set()
    await soon(call)


@pytest.mark.parametrize(
    ("there", "here", "difference"),
    [
        ({"queue_size": 5}, {"queue_size": 6}, "queue_size is 5 on the broker, 6 here"),
        ({"queue_size": 5}, {}, "queue_size is 5 on the broker, None here"),
        ({}, {"queue_size": 6}, "queue_size is None on the broker, 6 here"),
        ({"timeout": 1.5}, {"timeout": 2}, "timeout is 1.5 on the broker, 2 here"),
        ({}, {"timeout": 2}, "timeout is None on the broker, 2 here"),
        ({}, {"queue_type": "quorum"}, "queue_type is 'classic' on the broker, 'quorum' here"),
        (
            {"queue_type": "quorum"},
            {"queue_type": "quorum", "redelivery_limit": 7},
            "redelivery_limit is 5 on the broker, 7 here",
        ),
    ],
    ids=str,
)
async def test_a_queue_with_other_limits(
    stage: Stage, there: dict[str, Any], here: dict[str, Any], difference: str
) -> None:
    before = _answering("before")
    name = stage.register(before, **there)
    await (await stage.server(before, start=False)).close()

    after = _answering("after")  # a new function: one that is decorated brings its limits along
    after.__name__ = name
    now = stage.new_server()
    now.add_service(after, **here)
    with pytest.raises(ConfigurationError) as refused:
        await soon(now.connect())
    text = str(refused.value)
    assert f"rpc_async_{name}" in text
    assert difference in text
    assert "re_register=True" in text


async def test_a_queue_that_is_not_durable(stage: Stage) -> None:
    answer = _answering(1)
    name = stage.register(answer)
    connection = await aiormq.connect(stage.url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(
            f"rpc_async_{name}", durable=False, exclusive=False, arguments={"x-overflow": "reject-publish"}
        )
    except aiormq.exceptions.AMQPConnectionError as error:
        if "transient_nonexcl_queues" not in str(error):
            raise
        pytest.skip("this RabbitMQ permits no queue that is not durable and not exclusive")
    finally:
        await connection.close()
    server = stage.new_server()
    server.load_services({"answer": answer})
    with pytest.raises(ConfigurationError, match="durable"):
        await soon(server.connect())


async def test_re_register_replaces_a_queue_with_other_limits(stage: Stage, governed: Broker) -> None:
    answer = _answering("served")
    name = stage.register(answer, queue_size=5)
    await (await stage.server(answer, start=False)).close()
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name, timeout=3))
    await until_waiting(stage.url, f"rpc_async_{name}", 1)

    server = stage.new_server()
    schema = server.add_service(answer, 6, 2, 1.5, True)
    assert (schema.queue_size, schema.fetch_size, schema.timeout, schema.re_register) == (6, 2, 1.5, True)
    await soon(server.connect())
    arguments = await _arguments(governed, stage.url, f"rpc_async_{name}")
    assert arguments == (
        '[{"x-max-length",6},{"x-message-ttl",1500},{"x-overflow","reject-publish"},{"x-queue-type","classic"}]'
    )
    assert await soon(waiting_in(stage.url, f"rpc_async_{name}")) == 0  # what waited went with the old queue
    stage.start(server)
    assert await soon(client.remote_call(name)) == "served"
    assert await soon(client.remote_call(name, ftype="any")) == "served"
    call.cancel()


async def test_re_register_with_equal_limits_keeps_the_calls_that_wait(stage: Stage) -> None:
    first = _answering("first")
    name = stage.register(first, queue_size=5, timeout=60)
    await (await stage.server(first, start=False)).close()
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name)) for _ in range(3)]
    await until_waiting(stage.url, f"rpc_async_{name}", 3)

    server = stage.new_server()
    server.add_service(first, 5, None, 60, re_register=True)
    await soon(server.connect())
    assert await soon(waiting_in(stage.url, f"rpc_async_{name}")) == 3
    stage.start(server)
    assert await soon(asyncio.gather(*calls)) == ["first"] * 3


async def test_the_error_names_every_service_that_is_refused(stage: Stage, governed: Broker) -> None:
    functions = [_answering(number) for number in range(4)]
    names = [stage.register(function, queue_size=5) for function in functions]
    await (await stage.server(*functions[:2], start=False)).close()

    server = stage.new_server()
    for function in functions:
        server.add_service(function, queue_size=6)
    with pytest.raises(ConfigurationError) as refused:
        await soon(server.connect())
    told = "\n".join([str(refused.value), *refused.value.__notes__])
    assert f"'rpc_async_{names[0]}'" in told
    assert f"'rpc_async_{names[1]}'" in told
    assert names[2] not in told
    # Those of the others are declared all the same: the bad one does not stand in their way.
    assert "6" in await _arguments(governed, stage.url, f"rpc_async_{names[3]}")


async def test_a_bad_service_added_to_a_running_server_leaves_the_others_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good, later = _answering("bad"), _answering("good"), _answering("later")
    bad_name, good_name, later_name = (stage.register(function, queue_size=5) for function in (bad, good, later))
    await (await stage.server(bad, start=False)).close()
    server = await stage.server(good)
    client = await stage.client()
    assert await soon(client.remote_call(good_name)) == "good"
    server.add_service(bad, queue_size=6)
    server.add_service(later)
    await until_call_gives(client, later_name, "later")
    assert await soon(client.remote_call(good_name)) == "good"
    assert any(f"rpc_async_{bad_name}" in record.getMessage() for record in caplog.records)
    assert any(record.levelname == "ERROR" for record in caplog.records)


async def test_an_exchange_of_another_type(stage: Stage) -> None:
    connection = await aiormq.connect(stage.url)
    try:
        channel = await connection.channel()
        try:
            await channel.exchange_declare("rpc", exchange_type="fanout", durable=True)
        except aiormq.exceptions.ChannelPreconditionFailed:
            pytest.skip("the exchange is there already: this virtual host is shared")
    finally:
        await connection.close()
    server = stage.new_server()
    server.add_service(_answer)
    with pytest.raises(ConfigurationError, match="exchange 'rpc'"):
        await soon(server.connect())


async def test_an_idle_server_offers_nothing_else(stage: Stage, governed: Broker) -> None:
    await stage.client()
    rows = await ctl(governed, "list_queues", "-p", vhost_of(stage.url), "name", "exclusive", "durable")
    (row,) = rows
    assert row[0].startswith("amq.gen-")
    assert row[1:] == ["true", "false"]

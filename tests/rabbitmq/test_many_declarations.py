"""Declarations of many services share a few channels: what ends one of them is told by that one, and harms no other."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState, Reply, ServiceQueue
from rabibridge_testing.conformance.harness import Worker, request_to
from tests.rabbitmq.support import ctl, vhost_of
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiormq
    import pytest

    from rabibridge_testing.conformance.harness import Bench
    from tests.rabbitmq.users import Users
    from tools.broker import Broker

_COUNT = 150


def _queue(number: int) -> ServiceQueue:
    name = f"service_{number}"
    return ServiceQueue(
        f"rpc_async_{name}", (f"async_{name}", f"any:{name}"), 10, 1,
        any_keys=(f"any:{name}",), other_queue=f"rpc_sync_{name}",
    )  # fmt: skip


_QUEUES = [_queue(number) for number in range(_COUNT)]


async def _serve(transport: Any, queues: Sequence[ServiceQueue]) -> list[Any]:
    served = (transport.serve(queue, Worker()) for queue in queues)
    return await soon(asyncio.gather(*served, return_exceptions=True))


async def test_only_those_that_differ_on_the_broker_are_refused(bench: Bench, raw: aiormq.abc.AbstractChannel) -> None:
    different = _QUEUES[7::10]
    for queue in different:
        await raw.queue_declare(queue.name, durable=True, arguments={"x-max-length": 99})
    transport: Any = await bench.transport()
    ends = await soon(asyncio.gather(*map(transport.declare, _QUEUES), return_exceptions=True))
    for queue, end in zip(_QUEUES, ends, strict=True):
        if queue in different:
            assert isinstance(end, ConfigurationError)
            assert queue.name in str(end)
        else:
            assert end is None
    served = await _serve(transport, _QUEUES)
    for queue, end in zip(_QUEUES, served, strict=True):
        assert isinstance(end, ConfigurationError) if queue in different else end.live
    assert transport.state is ConnectionState.READY

    caller, inbox = await bench.caller()
    for queue in _QUEUES:
        if queue not in different:
            for key in queue.routing_keys:
                caller.send(request_to(queue, key.encode())._replace(routing_key=key))
    taken = [consumer.events for consumer in served if not isinstance(consumer, Exception)]
    for worker in taken:
        for _ in range(2):
            (await worker.next()).reply(Reply(b"", None, None))
    assert len({(await soon(inbox.replies.get()))[0] for _ in range(2 * len(taken))}) == 2 * len(taken)


async def test_queues_of_the_other_kind_go_if_nothing_is_lost(bench: Bench, raw: aiormq.abc.AbstractChannel) -> None:
    left, kept = _QUEUES[3::10], _QUEUES[5::10]
    for queue in (*left, *kept):
        assert queue.other_queue is not None
        await raw.queue_declare(queue.other_queue, durable=True)
    for queue in kept:
        await raw.basic_publish(b"", routing_key=str(queue.other_queue))
    transport: Any = await bench.transport()
    assert all(consumer.live for consumer in await _serve(transport, _QUEUES))
    for queue in kept:  # aiormq closes its channel if there is none
        assert (await raw.queue_declare(str(queue.other_queue), passive=True)).message_count == 1
    for queue in left:
        assert (await raw.queue_declare(str(queue.other_queue), durable=True, arguments={"x-expires": 1000})).queue


async def test_without_permission_for_calls_of_any_kind(
    bench: Bench, users: Users, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await soon((await bench.transport()).declare(_QUEUES[0]))  # declares the exchanges
    url = await users.add(".*", "^(rpc|rpc_async_.*|amq\\..*)?$", ".*")
    transport = RabbitMQTransport(load_settings(url=url), "limited")
    await soon(transport.connect())
    caplog.set_level(logging.WARNING, "rabibridge")
    assert all(consumer.live for consumer in await _serve(transport, _QUEUES))
    told = [record.getMessage() for record in caplog.records if "ftype='any'" in record.getMessage()]
    assert len(told) == 1
    assert transport.state is ConnectionState.READY
    await soon(transport.close())


async def test_the_connection_is_lost_in_the_middle(bench: Bench, governed: Broker, vhost_url: str) -> None:
    transport: Any = await bench.transport()
    starting = asyncio.ensure_future(_serve(transport, _QUEUES))

    async def some() -> bool:
        return len(await ctl(governed, "list_queues", "-p", vhost_of(vhost_url), "name")) > 5

    await until_true(some)
    transport.abort()
    consumers = await starting
    await until(lambda: all(consumer.live for consumer in consumers))

    async def channels() -> bool:
        rows = await ctl(governed, "list_connections", "vhost", "channels")
        counts = [int(count) for vhost, count in rows if vhost == vhost_of(vhost_url)]
        return sum(counts) == _COUNT + 1  # and the one for cancellations

    await until_true(channels)
    await soon(asyncio.gather(*(consumer.stop() for consumer in consumers)))

    async def closed() -> bool:
        rows = await ctl(governed, "list_connections", "vhost", "channels")
        return sum(int(count) for vhost, count in rows if vhost == vhost_of(vhost_url)) == 1

    await until_true(closed)

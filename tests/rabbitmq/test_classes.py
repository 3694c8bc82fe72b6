"""Classes of criticality on RabbitMQ: quorum queues, permissions, deleted bindings, and what is on the wire."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import QueueFullError, RMQClient, RMQServer, current_call
from tests.rabbitmq.support import waiting_in
from tests.support.waiting import soon, until_true

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

    from tests.rabbitmq.users import Users

CLASSES = {"interactive": 100, "batch": 100}


async def work(number: int) -> tuple[int, str | None]:
    return number, current_call().criticality


def _server(url: str, **limits: Any) -> tuple[str, RMQServer]:
    server, name = RMQServer(url=url), f"classes_{secrets.token_hex(4)}"
    server.add_service(work, name=name, **{"classes": CLASSES, **limits})
    return name, server


async def test_classes_on_quorum_queues(vhost_url: str) -> None:
    name, server = _server(vhost_url, queue_type="quorum", redelivery_limit=3)
    async with server.serving(), RMQClient(url=vhost_url) as client:
        view = client.options(timeout=60)
        for kind in ("async", "any"):
            for criticality in ("interactive", "batch"):
                call = view.options(criticality=criticality).remote_call(name, (1,), ftype=kind)
                assert await soon(call) == [1, criticality]


async def test_a_caller_needs_no_further_permission(vhost_url: str, users: Users) -> None:
    name, server = _server(vhost_url)
    async with server.serving():
        caller = await users.add("^amq.gen.*$", "^rpc$", "^amq.gen.*$")
        async with RMQClient(url=caller) as client:
            batch = client.options(criticality="batch", timeout=60)
            assert await soon(batch.remote_call(name, (1,))) == [1, "batch"]
            assert await soon(batch.options(kind="any").call(name, 2)) == [2, "batch"]


async def test_calls_wait_in_the_queue_of_their_class_while_no_worker_runs(
    vhost_url: str, raw: AbstractChannel
) -> None:
    name, server = _server(vhost_url, classes={"interactive": 2, "batch": 3})
    async with server, RMQClient(url=vhost_url) as client:
        batch = client.options(criticality="batch")
        for number in range(3):
            await soon(batch.notify(name, number))
        with pytest.raises(QueueFullError, match="class 'batch'"):
            await soon(batch.notify(name, 3))
        await soon(client.notify(name, 4))
        assert await waiting_in(vhost_url, f"rpc_async_{name}:batch") == 3
        assert await waiting_in(vhost_url, f"rpc_async_{name}") == 1
        message = await raw.basic_get(f"rpc_async_{name}:batch")
        headers = message.header.properties.headers or {}
        assert headers["rb-criticality"] == "batch"
        assert message.routing_key in (f"async_{name}:batch", f"any:{name}:batch")


async def test_a_deleted_binding_of_a_class_comes_back(vhost_url: str, raw: AbstractChannel) -> None:
    name, server = _server(vhost_url, classes={"interactive": 100, "batch": 0})  # a call that is refused reached batch
    async with server.serving(), RMQClient(url=vhost_url) as client:
        batch = client.options(criticality="batch", timeout=60)
        with pytest.raises(QueueFullError):
            await soon(batch.remote_call(name, (1,)))
        await raw.queue_unbind(f"rpc_async_{name}:batch", "rpc", f"async_{name}:batch")
        assert await soon(batch.remote_call(name, (2,))) == [2, "batch"]  # by the first class, and told to the worker

        async def refused() -> bool:
            async with RMQClient(url=vhost_url) as fresh:  # it has not found the class missing
                ended, (_, result) = await fresh.options(criticality="batch", timeout=60).try_remote_call(name, (3,))
            return not ended and isinstance(result, QueueFullError)

        await until_true(refused)

"""The limits of a service by a policy of the broker instead of by arguments of its queue."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from rabibridge import CallTimeoutError, QueueFullError, RMQClient
from rabibridge_testing._servers.base import GivenBroker
from tests.support.waiting import longer, until_true

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQServer
    from rabibridge_testing._servers.base import Broker

    Serve = Callable[..., Awaitable[RMQServer]]


async def _policy_holds(broker: Broker, vhost: str, queue: str) -> bool:
    rows = await asyncio.to_thread(broker.ctl, "list_queues", "-p", vhost, "name", "policy")
    return any(row.startswith(f"{queue}\t") and "limit-" in row for row in rows.splitlines())


async def test_a_policy_bounds_the_queue_and_the_wait_in_it(
    rabbitmq: Broker, serve: Serve, client: RMQClient, url: str, service_name: str
) -> None:
    if isinstance(rabbitmq, GivenBroker):
        pytest.skip("policies cannot be set on a broker that is only known by its URL")
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold(number: int) -> int:
        entered.set()
        await release.wait()
        return number

    await serve(hold, fetch_size=1)
    # Before the policy: on a busy machine, the first one too might wait longer than it allows.
    first = asyncio.create_task(client.remote_call(service_name, (1,), timeout=30))
    await entered.wait()
    limits = json.dumps({"max-length": 1, "message-ttl": 100})
    policy = ("-p", unquote(urlsplit(url).path[1:]) or "/", f"limit-{service_name}")
    pattern = f"^rpc_(async|sync)_{service_name}$"
    await asyncio.to_thread(rabbitmq.ctl, "set_policy", *policy, pattern, limits, "--apply-to", "queues")
    await until_true(lambda: _policy_holds(rabbitmq, policy[1], f"rpc_async_{service_name}"))

    for timeout in longer(1.0):
        others = [asyncio.create_task(client.remote_call(service_name, (n,), timeout=timeout)) for n in (2, 3)]
        waiting, refused = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(waiting, CallTimeoutError)  # dropped after the 0.1 s that the policy allows it in the queue
        if isinstance(refused, QueueFullError):  # it came within these 0.1 s
            break
    release.set()
    assert await first == 1
    await until_true(lambda: _answers(client, service_name, 4))  # it, too, may wait no longer than 0.1 s


async def _answers(client: RMQClient, name: str, number: int) -> bool:
    return await client.try_remote_call(name, (number,), timeout=5) == (True, (0, number))

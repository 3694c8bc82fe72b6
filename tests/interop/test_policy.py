"""The limits of a service by a policy of the broker instead of by arguments of its queue."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from rabibridge import CallTimeoutError, QueueFullError, RMQClient
from tools.broker.base import GivenBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQServer
    from tools.broker.base import Broker

    Serve = Callable[..., Awaitable[RMQServer]]


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
    limits = json.dumps({"max-length": 1, "message-ttl": 100})
    policy = ("-p", unquote(urlsplit(url).path[1:]) or "/", f"limit-{service_name}")
    pattern = f"^rpc_(async|sync)_{service_name}$"
    await asyncio.to_thread(rabbitmq.ctl, "set_policy", *policy, pattern, limits, "--apply-to", "queues")

    first = asyncio.create_task(client.remote_call(service_name, (1,), timeout=30))
    await entered.wait()
    others = [asyncio.create_task(client.remote_call(service_name, (n,), timeout=1)) for n in (2, 3)]
    waiting, refused = await asyncio.gather(*others, return_exceptions=True)
    assert isinstance(waiting, CallTimeoutError)  # dropped after the 0.1 s that the policy allows it in the queue
    assert isinstance(refused, QueueFullError)
    release.set()
    assert await first == 1
    assert await client.remote_call(service_name, (4,), timeout=30) == 4

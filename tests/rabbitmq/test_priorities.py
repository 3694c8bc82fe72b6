"""Priorities of messages are no substitute for classes: a bounded queue refuses an urgent message like any other."""

from __future__ import annotations

from typing import Any

import aiormq
import pytest
from aiormq.exceptions import DeliveryError

pytestmark = pytest.mark.rabbitmq


async def test_a_full_queue_with_priorities_refuses_an_urgent_message(vhost_url: str) -> None:
    bounds: dict[str, Any] = {"x-max-priority": 10, "x-max-length": 5, "x-overflow": "reject-publish"}
    connection = await aiormq.connect(vhost_url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        await channel.queue_declare("bounded", arguments=bounds)
        for _ in range(5):
            await _publish(channel, priority=0)
        with pytest.raises(DeliveryError):
            await _publish(channel, priority=9)
        urgent = await channel.basic_get("bounded", no_ack=True)
        assert urgent.header.properties.priority == 0
        await _publish(channel, priority=9)  # one place is free: now it is accepted, and comes first
        urgent = await channel.basic_get("bounded", no_ack=True)
        assert urgent.header.properties.priority == 9
    finally:
        await connection.close()


async def _publish(channel: aiormq.abc.AbstractChannel, *, priority: int) -> None:
    properties = aiormq.spec.Basic.Properties(priority=priority)
    await channel.basic_publish(b"call", routing_key="bounded", properties=properties)

"""What the tests of the memory broker share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.transport import Request, ServiceQueue

if TYPE_CHECKING:
    from rabibridge_testing import MemoryBroker, MemoryTransport

QUEUE = ServiceQueue("rpc_async_work", ("async_work", "work"), queue_size=None, fetch_size=8)


def request(correlation_id: bytes = b"1", timeout: float | None = None) -> Request:
    return Request("async_work", correlation_id, b"body", "text/plain", None, timeout)


async def connected(broker: MemoryBroker) -> MemoryTransport:
    transport = broker.transport()
    await transport.connect()
    return transport


async def add(left: int, right: int) -> int:
    return left + right

"""What the tests of an operator's tools share: dead letters, made by hand, and connections of operators."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
from pamqp import commands as spec

from rabibridge._operations.dead_letters import DeadLetters
from rabibridge._operations.operator_session import operator_session
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["add_letter", "declare_dead_letters", "drained", "operator", "packed"]

DEAD = "rpc.dead"


def packed(value: Any) -> bytes:
    """Encode a body as clients do."""
    body: bytes | None = msgpack.packb(value)
    assert body is not None
    return body


async def declare_dead_letters(raw: Any, *services: str, arguments: dict[str, Any] | None = None) -> None:
    """Declare the queue of dead letters, and queues of services."""
    await raw.queue_declare(DEAD, durable=True, arguments={"x-max-length": 100_000, "x-overflow": "drop-head"})
    for service in services:
        await raw.queue_declare(f"rpc_async_{service}", durable=True, arguments=arguments)


async def add_letter(
    raw: Any,
    number: int,
    service: str = "one",
    reason: str = "a reason",
    *,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    body: bytes | None = None,
) -> None:
    """Publish a dead letter as a worker does, with further headers and other properties."""
    added: dict[str, Any] = {
        "rb-dead-reason": reason, "rb-dead-queue": f"rpc_async_{service}", "rb-dead-at": int(time.time() * 1000),
        "rb-dead-by": "a worker", **(headers or {}),
    }  # fmt: skip
    given: dict[str, Any] = {"content_type": "application/msgpack", "delivery_mode": 2, "correlation_id": str(number)}
    await raw.basic_publish(
        packed([[number], {}]) if body is None else body,
        routing_key=DEAD,
        properties=spec.Basic.Properties(headers=added, **(given | (properties or {}))),
    )


async def drained(raw: Any, queue: str) -> list[Any]:
    """Take all messages out of a queue."""
    found = []
    while (message := await raw.basic_get(queue, no_ack=True)).delivery_tag is not None:
        found.append(message)
    return found


@asynccontextmanager
async def operator(url: str) -> AsyncIterator[DeadLetters]:
    """Connect an operator."""
    async with operator_session(load_settings(url=url), "test") as session:
        yield DeadLetters(session)

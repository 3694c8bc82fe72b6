"""What is in the queue of dead letters: what a worker has put there, and what others have."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rabibridge._amqp.field_tables import decode_table_or_empty
from rabibridge._amqp.headers import (
    DEAD_AT_HEADER,
    DEAD_BY_HEADER,
    DEAD_QUEUE_HEADER,
    DEAD_REASON_HEADER,
    DEADLINE_HEADER,
    DEATHS_HEADER,
    TIMEOUT_HEADER,
)
from rabibridge_core._protocol.naming import service_of_queue
from rabibridge_core.operations.letters import DeadLetter, is_service_queue

if TYPE_CHECKING:
    from rabibridge._amqp.properties import Properties

__all__ = ["read_letter"]

_ID_SIZE = 6
_TEXT_MAX = 1024


def read_letter(properties: Properties, body: bytes, namespace: str) -> DeadLetter:
    """Return what a message in the queue of dead letters of a namespace is. Nothing in it is trusted."""
    headers = decode_table_or_empty(properties.headers)
    death = _broker_death(headers)
    queue = _text(headers.get(DEAD_QUEUE_HEADER)) or _text(death.get("queue"))
    reason = _text(headers.get(DEAD_REASON_HEADER))
    at = _number(headers.get(DEAD_AT_HEADER))
    if not reason and death:
        reason = f"the broker: {_text(death.get('reason')) or 'no reason given'}"
    foreign = not is_service_queue(queue, namespace)
    return DeadLetter(
        id=_id(properties, body),
        service="" if foreign else service_of_queue(queue),
        queue=queue,
        reason=reason,
        at=at / 1000 if at is not None else _timestamp(death.get("time")),
        by=_text(headers.get(DEAD_BY_HEADER)),
        deaths=1 + max(0, int(_number(headers.get(DEATHS_HEADER)) or 0)),
        deadline=_deadline(headers, at),
        size=len(body),
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        correlation_id=properties.correlation_id.decode("utf-8", "backslashreplace"),
        reply_to=properties.reply_to.decode("utf-8", "backslashreplace"),
        foreign=foreign,
        headers=headers,
    )


def _broker_death(headers: dict[str, Any]) -> dict[str, Any]:
    """Return the latest entry of the header that RabbitMQ writes when it dead-letters a message itself."""
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths else None
    return latest if isinstance(latest, dict) else {}


def _deadline(headers: dict[str, Any], dead_at: float | None) -> float | None:
    deadline, timeout = _number(headers.get(DEADLINE_HEADER)), _number(headers.get(TIMEOUT_HEADER))
    if deadline is None and timeout is not None and dead_at is not None:
        deadline = dead_at + timeout  # at the latest
    return None if deadline is None else deadline / 1000


def _id(properties: Properties, body: bytes) -> str:
    digest = hashlib.blake2b(digest_size=_ID_SIZE)
    for part in (properties.headers, properties.correlation_id, properties.reply_to, body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _number(value: object) -> float | None:
    """Return a number that can be calculated with; ``None`` for anything else."""
    match value:
        case bool():
            return None
        case int() | float() as number if abs(number) < 2**53:
            return float(number)
        case _:
            return None


def _text(value: object) -> str:
    return value[:_TEXT_MAX] if isinstance(value, str) else ""


def _timestamp(value: object) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else _number(value)

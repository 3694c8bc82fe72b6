"""What is in the queue of dead letters: what a worker has put there, and what others have."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
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
from rabibridge_core._protocol.naming import service_of_queue, split_namespace

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge._amqp.properties import Properties

__all__ = ["DeadLetter", "LetterFilter", "is_service_queue", "read_letter"]

_SERVICE_QUEUE = re.compile(r"rpc_(?:async|sync)_[A-Za-z0-9_.-]{1,200}(?::[A-Za-z0-9_.-]{1,32})?")
_ID_SIZE = 6
_TEXT_MAX = 1024


def is_service_queue(name: str, namespace: str) -> bool:
    """Tell whether a queue has a name that queues of services have in a namespace."""
    prefix, plain = split_namespace(name)
    return prefix == namespace and _SERVICE_QUEUE.fullmatch(plain) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message in the queue of dead letters.

    Attributes:
        id: 12 hexadecimal digits made from its content, the same each time it is looked at. A message has no name of
            its own on the broker.
        service: the service that it was for; empty for foreign messages.
        queue: the queue that it was consumed from; empty: not known.
        reason: why it is there, as its worker, or the broker, has said.
        at: when it was put there, in seconds since 1970 by the clock of the worker or the broker; ``None``: not known.
        by: the connection name of the worker that put it there; empty: the broker did, or it is not known.
        deaths: how often it was dead-lettered, counting those times after which it was requeued by an operator.
        deadline: when the time of the call ends, in seconds since 1970; ``None``: it has no limit.
        size: size of its body, in bytes.
        content_type: how its body is encoded.
        content_encoding: how its body is compressed.
        correlation_id: identifies the call among those of its caller; empty for a notification.
        reply_to: the queue in which its caller waits, or has waited; empty for a notification.
        foreign: whether it did not come from the queue of a service of this namespace. It is shown, and neither
            requeued nor purged.
        headers: all of its headers, decoded.
    """

    id: str
    service: str
    queue: str
    reason: str
    at: float | None
    by: str
    deaths: int
    deadline: float | None
    size: int
    content_type: str | None
    content_encoding: str | None
    correlation_id: str
    reply_to: str
    foreign: bool
    headers: dict[str, Any] = field(repr=False)

    def is_expired(self, now: float | None = None) -> bool:
        """Tell whether its deadline has passed."""
        return self.deadline is not None and self.deadline <= (time.time() if now is None else now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which dead letters are meant: those to which all of this applies.

    Attributes:
        ids: identifiers, as :attr:`DeadLetter.id`; empty: any.
        service: name of a service, or of its queue; ``None``: any.
        reason: a part of the reason, in upper or lower case; ``None``: any.
        older_than: how long ago it was dead-lettered at least, in seconds; ``None``: any time.
    """

    ids: Collection[str] = ()
    service: str | None = None
    reason: str | None = None
    older_than: float | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Tell whether this letter is meant."""
        if self.ids and letter.id not in self.ids:
            return False
        if self.service is not None and self.service not in (letter.service, letter.queue):
            return False
        if self.reason is not None and self.reason.casefold() not in letter.reason.casefold():
            return False
        return self.older_than is None or (letter.at is not None and time.time() - letter.at >= self.older_than)


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

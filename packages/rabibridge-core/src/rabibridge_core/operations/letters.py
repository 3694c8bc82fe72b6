"""Calls that no worker could process, as operators see them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.naming import split_namespace

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["DeadLetter", "LetterFilter", "is_service_queue"]

_SERVICE_QUEUE = re.compile(r"rpc_(?:async|sync)_[A-Za-z0-9_.-]{1,200}(?::[A-Za-z0-9_.-]{1,32})?")


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

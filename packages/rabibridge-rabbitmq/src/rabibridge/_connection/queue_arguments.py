"""The arguments with which the queue of a service is declared, and what it means if the broker has it with others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rabibridge._amqp.durations import milliseconds
from rabibridge_core._protocol.broker_texts import limits_differ, served_elsewhere
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiormq import exceptions as amqp

    from rabibridge_core.transport import ServiceQueue

__all__ = ["arguments", "inequivalent", "is_adoptable", "replaced_while_served"]

_EXTRA_DELIVERIES = 5
"""How far ``x-delivery-limit``, at which a quorum queue itself drops a request, is above our redelivery limit."""
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)'.*?received (?:the value )?'?(?P<ours>.*?)'?(?: of type '\w+')?"
    r" but current is (?:the value )?'?(?P<theirs>.*?)'?(?: of type '\w+')?$"
)
_LIMITS: dict[str, tuple[str, Callable[[str], str]]] = {
    "x-max-length": ("queue_size", str),
    "x-message-ttl": ("timeout", lambda milliseconds: f"{int(milliseconds) / 1000:g}"),
    "x-queue-type": ("queue_type", repr),
    "x-delivery-limit": ("redelivery_limit", lambda limit: str(int(limit) - _EXTRA_DELIVERIES)),
}
"""The limit that an argument of a queue comes from, and how its value there is shown as a value of the limit."""


def arguments(queue: ServiceQueue, *, default_type: bool = False) -> dict[str, Any]:
    """Return the arguments of a service queue.

    They are those of RabiBridge 0.1.2, so that its workers and ours can serve the same queue, and the type: a virtual
    host may have another default type. RabbitMQ considers an explicit "classic" equivalent to no type.

    Args:
        queue: the queue.
        default_type: leave out the type and what depends on it, exactly as RabiBridge 0.1.2 does.
    """
    found: dict[str, Any] = {"x-overflow": "reject-publish"}
    if queue.queue_size is not None:
        found["x-max-length"] = queue.queue_size
    if queue.timeout is not None:
        found["x-message-ttl"] = milliseconds(queue.timeout)
    if not default_type:
        if queue.queue_type != "classic" and queue.redelivery_limit is not None:
            found["x-delivery-limit"] = queue.redelivery_limit + _EXTRA_DELIVERIES
        found["x-queue-type"] = queue.queue_type
    return found


def is_adoptable(queue: ServiceQueue, error: amqp.ChannelPreconditionFailed) -> bool:
    """Tell whether a queue that could not be declared as classic may be used as it is.

    On a virtual host whose default type is quorum, RabiBridge 0.1.2, which names no type, declares quorum queues.
    """
    found = _INEQUIVALENT.search(_text(error))
    return (
        queue.queue_type == "classic"
        and found is not None
        and (found["argument"], found["theirs"]) == ("x-queue-type", "quorum")
    )


def inequivalent(queue: ServiceQueue, error: amqp.ChannelPreconditionFailed) -> ConfigurationError:
    """Return an error that says how the queue on the broker differs, and what can be done."""
    difference = _difference(error)
    if difference is None:
        return ConfigurationError(f"the queue {queue.name!r} cannot be declared: {_text(error)}")
    return ConfigurationError(limits_differ(queue.name, difference))


def replaced_while_served(
    queue: ServiceQueue, consumers: int, error: amqp.ChannelPreconditionFailed
) -> ConfigurationError:
    """Return the error for ``redeclare`` while other workers serve the queue."""
    return ConfigurationError(served_elsewhere(queue.name, _difference(error) or _text(error), consumers))


def _difference(error: amqp.ChannelPreconditionFailed) -> str | None:
    found = _INEQUIVALENT.search(_text(error))
    if found is None:
        return None
    argument = found["argument"]
    name, shown = _LIMITS.get(argument, (f"the argument {argument}", str))
    here, there = (None if found[side] == "none" else shown(found[side]) for side in ("ours", "theirs"))
    if argument == "x-queue-type":
        here, there = here or "'classic'", there or "'classic'"
    return f"{name} is {there} on the broker, {here} here"


def _text(error: amqp.ChannelPreconditionFailed) -> str:
    return " ".join(str(argument) for argument in error.args)

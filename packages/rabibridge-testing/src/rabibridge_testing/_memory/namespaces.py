"""Names in a namespace: what is sent in one reaches nobody in another, although all share the broker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge_core._protocol.naming import in_namespace

if TYPE_CHECKING:
    from rabibridge_core.transport import Request, ServiceQueue

__all__ = ["key_in", "key_without", "queue_in", "request_in"]

_SEPARATOR = "/"
"""No routing key has it."""


def key_in(namespace: str, key: str) -> str:
    """Return the routing key of a namespace; without a namespace it stays as it is."""
    return f"{namespace}{_SEPARATOR}{key}" if namespace else key


def key_without(key: str) -> str:
    """Return the routing key as its caller wrote it."""
    return key.rpartition(_SEPARATOR)[2]


def request_in(namespace: str, request: Request) -> Request:
    """Return the request with the routing key of a namespace."""
    return request._replace(routing_key=key_in(namespace, request.routing_key)) if namespace else request


def queue_in(namespace: str, queue: ServiceQueue) -> ServiceQueue:
    """Return the queue with the names and routing keys of a namespace."""
    if not namespace:
        return queue
    return replace(
        queue,
        name=in_namespace(queue.name, namespace),
        routing_keys=tuple(key_in(namespace, key) for key in queue.routing_keys),
        any_keys=tuple(key_in(namespace, key) for key in queue.any_keys),
        other_queue=None if queue.other_queue is None else in_namespace(queue.other_queue, namespace),
    )

"""What errors say when a broker refuses: the same on every broker, so that a test that matches a text holds on all."""

from __future__ import annotations

__all__ = [
    "FEED_REFUSED",
    "NO_ROUTE",
    "QUEUE_FULL",
    "WORKER_GONE",
    "both_served",
    "left_behind",
    "limits_differ",
    "served_elsewhere",
    "too_large",
]

NO_ROUTE = "no worker has registered a service of that name and kind on this broker"
"""Detail of NoRouteError."""

QUEUE_FULL = "the queue of the service is full; the call was not queued, retry it later"
"""Detail of QueueFullError."""

WORKER_GONE = "the connection of the worker is gone"
"""Detail of NoRouteError, for a further message of a call."""

FEED_REFUSED = "too much that the worker has not read yet waits for it"
"""Detail of QueueFullError, for a further message of a call."""


def too_large(what: str, size: int, limit: int) -> str:
    """Return the text of the error for a request or reply, ``what``, of more bytes than the broker accepts."""
    return f"{what} takes {size} bytes on the wire; the broker accepts at most {limit} (its max_message_size)"


def limits_differ(queue: str, difference: str) -> str:
    """Return the text of the error for a queue that exists with other limits.

    Args:
        queue: its name.
        difference: such as ``queue_size is 5 on the broker, 6 here``.
    """
    return (
        f"the queue {queue!r} exists with other limits: {difference}. Register the service with the limits of the "
        "queue, or register it with re_register=True to delete the queue and the calls that wait in it, or delete the "
        "queue on the broker, or give the service another name"
    )


def served_elsewhere(queue: str, difference: str, consumers: int) -> str:
    """Return the text of the error for ``re_register=True`` while other workers serve the queue.

    Args:
        queue: its name.
        difference: as for :func:`limits_differ`.
        consumers: how many workers serve it.
    """
    serve = "1 worker serves" if consumers == 1 else f"{consumers} workers serve"
    return (
        f"the queue {queue!r} exists with other limits: {difference}. re_register=True does not replace it while "
        f"{serve} it; nothing was deleted. Stop them first, or give the service another name"
    )


def left_behind(queue: str, other: str, waiting: int) -> str:
    """Return the warning about calls that wait in a queue of the kind that a service no longer has.

    Args:
        queue: the queue of the service.
        other: the queue of the other kind.
        waiting: how many calls wait in it.
    """
    calls = "1 call waits" if waiting == 1 else f"{waiting} calls wait"
    return (
        f"{calls} in the queue {other!r}, which no worker serves: the function of {queue!r} was of the other kind. "
        "Calls with ftype='any' go to the latter. To have the waiting calls answered, run a worker with the old "
        "version of the function; to drop them, delete the queue"
    )


def both_served(preferred: str, other: str) -> str:
    """Return the warning about two services of one name and different kinds; the queue ``preferred`` gets any calls."""
    return (
        f"two functions of one name are served, an async one from {preferred!r} and another one from {other!r}. Calls "
        "with ftype='any' go to the async one while it is served. Give one of them another name, or stop the workers "
        "of the old version"
    )

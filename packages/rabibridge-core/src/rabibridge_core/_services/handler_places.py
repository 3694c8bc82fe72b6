"""Where the functions of services run, and the limits that follow from it and from others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rabibridge_core._services.callables import is_generator, place_of, runs_on_loop
from rabibridge_core._services.limits import (
    DEFAULT_FETCH_SIZE,
    DEFAULT_SYNC_FETCH_SIZE,
    MAX_WAIT_QUEUE_SIZE,
    usable_cpus,
)
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._services.limits import HandlerPlace, ServiceLimits

__all__ = ["fetch_ahead_of", "handler_place", "queue_size_of"]


def queue_size_of(limits: ServiceLimits) -> int | None:
    """Return the bound of the queue."""
    return MAX_WAIT_QUEUE_SIZE if limits.queue_size is None and limits.max_wait is not None else limits.queue_size


def fetch_ahead_of(limits: ServiceLimits, place: HandlerPlace) -> int:
    """Return how many calls a worker fetches ahead: with a limit of the wait some, which it can refuse in time."""
    if limits.fetch_ahead is not None or limits.max_wait is None or limits.fair or limits.delivery == "at-most-once":
        return limits.fetch_ahead or 0
    usual = {"process": usable_cpus(), "thread": DEFAULT_SYNC_FETCH_SIZE, "loop": DEFAULT_FETCH_SIZE}
    return max(2, (limits.fetch_size or usual[place]) // 4)


def handler_place(func: Callable[..., Any], name: str, limits: ServiceLimits) -> HandlerPlace:
    """Return where a function runs.

    Raises:
        RegistrationError: it cannot run there.
    """
    place = limits.executor or ("loop" if runs_on_loop(func) else "thread")
    if place == "thread" and runs_on_loop(func):
        raise RegistrationError(
            f"service {name!r}: {place_of(func)} is async, and an async function runs on the event loop "
            "(executor='loop') or in child processes (executor='process'), not in a thread: leave executor= out"
        )
    if place != "thread" and not runs_on_loop(func) and is_generator(func):
        raise RegistrationError(
            f"service {name!r}: {place_of(func)} is a generator function, which runs in a thread: leave executor= out"
        )
    if place == "process":
        if is_generator(func):
            raise RegistrationError(
                f"service {name!r}: {place_of(func)} is a generator function, and a child process gives one result for "
                "a call: leave executor= out, or return a list"
            )
        if os.name != "posix":
            raise RegistrationError(f"service {name!r}: executor='process' needs Linux, macOS or another POSIX system")
    elif limits.max_calls_per_child is not None:
        raise RegistrationError(f"service {name!r}: max_calls_per_child= needs executor='process', and it is {place!r}")
    return place

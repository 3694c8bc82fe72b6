"""Where the function of a service runs: on the event loop, in a thread, or in child processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rabibridge_core._services.callables import is_generator, place_of, runs_on_loop
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._services.limits import HandlerPlace, ServiceLimits

__all__ = ["handler_place"]


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

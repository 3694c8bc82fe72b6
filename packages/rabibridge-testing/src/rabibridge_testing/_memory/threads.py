"""Lets clients, servers and tests on several event loops and threads of one process share an in-memory broker.

Whatever changes the broker holds its lock. What a transport is told runs later, in a turn of the transport's own event
loop, without the lock.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

__all__ = ["Locked", "locked", "post"]

P = ParamSpec("P")
T = TypeVar("T")


class Locked(Protocol):
    """What has the lock of a broker.

    Attributes:
        lock: the lock, which a thread may hold several times.
    """

    @property
    def lock(self) -> RLock:
        """The lock."""
        ...


LockedT = TypeVar("LockedT", bound=Locked)


def locked(method: Callable[Concatenate[LockedT, P], T]) -> Callable[Concatenate[LockedT, P], T]:
    """Let a method hold the lock of its object's broker."""

    @functools.wraps(method)
    def run(owner: LockedT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with owner.lock:
            return method(owner, *args, **kwargs)

    return run


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    """Call ``callback`` in a later turn of ``loop``, from any thread; never, if the loop is closed."""
    if asyncio._get_running_loop() is loop:
        loop.call_soon(callback, *args)
        return
    with suppress(RuntimeError):  # it is closed, or is closed at this moment
        loop.call_soon_threadsafe(callback, *args)

"""The clock that engines ask.

Deadlines, back-offs and all that expires are measured by the time of the event loop, which is :func:`time.monotonic`.
A test may give its event loop virtual time, which passes at once when nothing else is left to do. Then everything that
runs on this loop must see it, also what asks for the time without a loop at hand, or compares it with the clock of the
machine. So engines call the functions of this module, and timers of the loop, and nothing else.

A thread without an event loop has the time of the loop that it works for, which :func:`carried` tells it. A loop whose
clock a test has advanced stays ahead for as long as it exists, so a thread must not take the time of any that it finds.

Only what measures work as it is done, such as how long a handler has held the event loop, takes the real clock.

The real functions are bound as default arguments, where libraries that freeze time by replacing names do not find them:
a frozen clock would move the deadlines of calls.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable

__all__ = [
    "VirtualTime",
    "carried",
    "forget_virtual",
    "is_virtual",
    "monotonic",
    "outside",
    "steady",
    "use_virtual",
    "wall",
]

ResultT = TypeVar("ResultT")


class VirtualTime(Protocol):
    """The time of an event loop that does not pass as it does outside."""

    @property
    def stands(self) -> bool:
        """Whether a test uses the clock now; otherwise time passes as it does outside, from where the test left it."""
        ...

    def time(self) -> float:
        """Return the time of the loop, in seconds."""
        ...

    def outside(self, waiting: Future[Any]) -> None:
        """Let no time be skipped before ``waiting`` is done: something outside of the loop works for it."""
        ...


class _Virtual(NamedTuple):
    """Virtual time, and by how much the other clocks differ from it, in seconds."""

    own: VirtualTime
    wall: float
    steady: float


_virtual: WeakKeyDictionary[AbstractEventLoop, _Virtual] | None = None
"""The event loops with virtual time; ``None``: there was none so far in this process."""


class _Thread(threading.local):
    """Whose time a thread has that runs no event loop."""

    known = False
    virtual: _Virtual | None = None


_thread = _Thread()


def _boot_clock() -> Callable[[], float]:
    """Return a clock that is never set, and goes on while the machine is suspended where there is such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot is None else lambda read=time.clock_gettime: read(boot)  # type: ignore[misc]


_BOOT_CLOCK = _boot_clock()


def monotonic(_read: Callable[[], float] = time.monotonic) -> float:
    """Return the time of this thread's event loop, in seconds.

    A thread without one has that of the loop that it works for, by :func:`carried`; any other thread has that of the
    virtual loop that a test uses at this moment, if there is exactly one.
    """
    if _virtual is None or (virtual := _here()) is None:
        return _read()
    return virtual.own.time()


def wall(_read: Callable[[], float] = time.time) -> float:
    """Return the seconds since 1970."""
    if _virtual is None or (virtual := _here()) is None:
        return _read()
    return virtual.own.time() + virtual.wall


def steady(_read: Callable[[], float] = _BOOT_CLOCK) -> float:
    """Return the time of a clock that is never set, and goes on while the machine is suspended, in seconds."""
    if _virtual is None or (virtual := _here()) is None:
        return _read()
    return virtual.own.time() + virtual.steady


def outside(waiting: Future[Any]) -> None:
    """Tell that something outside of the event loop, such as a thread, works for a future of this loop."""
    if _virtual is not None and (virtual := _here()) is not None:
        virtual.own.outside(waiting)


def carried(work: Callable[[], ResultT]) -> Callable[[], ResultT]:
    """Return ``work`` such that a thread which runs it has the time that this thread has now."""
    if _virtual is None:
        return work
    virtual = _here()

    def run() -> ResultT:
        before = _thread.known, _thread.virtual
        _thread.known, _thread.virtual = True, virtual
        try:
            return work()
        finally:
            _thread.known, _thread.virtual = before

    return run


def is_virtual(loop: AbstractEventLoop) -> bool:
    """Tell whether an event loop has virtual time."""
    return _virtual is not None and loop in _virtual


def use_virtual(loop: AbstractEventLoop, virtual: VirtualTime) -> None:
    """Let all that runs on ``loop`` have this time."""
    global _virtual
    if _virtual is None:
        _virtual = WeakKeyDictionary()
    now = virtual.time()
    _virtual[loop] = _Virtual(virtual, wall() - now, steady() - now)


def forget_virtual(loop: AbstractEventLoop) -> None:
    """Let all that runs on ``loop`` have the time of the machine again."""
    if _virtual is not None:
        _virtual.pop(loop, None)


def _here() -> _Virtual | None:
    from asyncio import _get_running_loop  # settings are read without it

    assert _virtual is not None
    loop = _get_running_loop()
    if loop is not None:
        return _virtual.get(loop)
    if _thread.known:
        return _thread.virtual
    used = [virtual for virtual in list(_virtual.values()) if virtual.own.stands]
    return used[0] if len(used) == 1 else None

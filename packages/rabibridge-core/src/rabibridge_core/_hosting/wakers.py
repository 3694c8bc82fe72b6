"""How the thread of an event loop wakes a thread that waits for it.

Releasing a lock wakes a thread that can do nothing yet: whoever releases it holds the GIL. Where both share a core, the
thread even takes the place of the event loop, only to wait again, now for the GIL. Writing to an event file descriptor
gives up the GIL, so that the thread runs at once, and usually waits for its next result when the loop continues. That
halves the number of switches between threads.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EventWaker", "LockWaker", "Waker", "WakerPool"]

_SLICE = 0.5
"""A waiting thread looks up after so many seconds: an exception that was set for it from another thread gets through
then, as Ctrl-C does on Windows, and a process that was forked while it waits learns that nobody will answer."""
_EVENTS_MAX = 64
"""File descriptors of one pool: programs may have few to spare. Further threads wait for locks."""


class LockWaker:
    """Wakes one thread once, by a lock."""

    __slots__ = ("_acquire", "wake")

    def __init__(self) -> None:
        """Be ready for one thread."""
        lock = allocate_lock()
        lock.acquire()
        self._acquire = lock.acquire
        self.wake = lock.release

    def wait(self) -> bool:
        """Wait for :meth:`wake`; return ``False`` if it has not been called for half a second."""
        return self._acquire(True, _SLICE)


class EventWaker:
    """Wakes one thread at a time, by an event file descriptor."""

    __slots__ = ("_descriptor", "_poll")

    def __init__(self) -> None:
        """Open the file descriptor.

        Raises:
            OSError: there is none left.
        """
        self._descriptor = os.eventfd(0)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        self._poll = poll.poll

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close it."""
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            close(descriptor)

    def wake(self) -> None:
        """Wake the thread. This gives up the GIL."""
        os.eventfd_write(self._descriptor, 1)

    def wait(self) -> bool:
        """Wait for :meth:`wake`; return ``False`` if it has not been called for half a second."""
        return bool(self._poll(_SLICE * 1000))

    def clear(self) -> None:
        """Called by the thread that was woken: wake the next one by the next :meth:`wake`.

        Not in a forked child, which would take the event from its parent.
        """
        os.eventfd_read(self._descriptor)


Waker: TypeAlias = LockWaker | EventWaker


class WakerPool:
    """The wakers of one event loop, for Linux event file descriptors. It takes no lock, like all that a call needs."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        """Open nothing yet."""
        self._places: deque[EventWaker | None] = deque([None] * _EVENTS_MAX if hasattr(os, "eventfd") else ())

    def take(self) -> Waker:
        """Return a waker for one thread."""
        try:
            waker = self._places.pop()
        except IndexError:
            return LockWaker()
        if waker is None:
            try:
                waker = EventWaker()
            except OSError:  # too many open files
                self._places.appendleft(None)
                return LockWaker()
        return waker

    def close(self) -> None:
        """Close those that nobody waits for, and the others when their threads put them back."""
        self._places = deque(maxlen=0)

    def put(self, waker: Waker) -> None:
        """Called by the thread that was woken: another one may wait now."""
        if type(waker) is EventWaker:
            waker.clear()
            self._places.append(waker)

    def forget(self, waker: Waker) -> None:
        """Called by a thread that no longer waits; the loop may still wake it."""
        if type(waker) is EventWaker:
            self._places.appendleft(None)

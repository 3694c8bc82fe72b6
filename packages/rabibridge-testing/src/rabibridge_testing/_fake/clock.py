"""``fake_broker.clock``: lets the time of a test pass without waiting."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_testing._fake.loop_time import LoopTime, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

__all__ = ["VirtualClock"]


class VirtualClock:
    """The clock of the event loop that a test with a fake broker runs on.

    From the first use on, it stands still while anything can run, so that code takes no time, and it can be moved.
    Everything that waits by the event loop follows: timeouts and back-offs of clients, deadlines, expiry and limits of
    servers, ``asyncio.sleep`` and ``asyncio.timeout`` of handlers and of the test. ``time.time`` and ``time.monotonic``
    do not. At the end of the test, time passes as it does outside again, from where it is: it never goes back.

    Where something outside of the event loop is awaited, a thread, a socket or a process, time passes as it does
    outside until that has ended. It needs an event loop of asyncio: uvloop has a clock of its own.
    """

    def __init__(self, elsewhere: Callable[[asyncio.AbstractEventLoop], str], *, auto_advance: bool = False) -> None:
        """Use no event loop yet.

        Args:
            elsewhere: names, in words, what is connected on other event loops than the one given; empty: nothing.
            auto_advance: whether to advance whenever nothing can run, on each loop that a client or a server connects
                on.
        """
        self._elsewhere = elsewhere
        self._initially = self._auto = auto_advance
        self._times: list[LoopTime] = []
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """How many seconds have passed on it since its first use; 0 before."""
        return 0.0 if self._began is None or not self._times else self._times[-1].time() - self._began

    async def advance(self, seconds: float | timedelta) -> None:
        """Let time pass, and wait until all that is due in it has run to where it waits again.

        What takes real time meanwhile, such as a function in a thread, is waited for: as many seconds pass for it.

        Args:
            seconds: how long; 0 lets everything run that can run now.

        Raises:
            ValueError: ``seconds`` is negative, or no finite number.
            RuntimeError: there is an open socket or a process on this event loop, or a client or a server on another
                one; or the event loop is not asyncio's own.
        """
        length = as_seconds(seconds)
        if length is None or not (length >= 0 and math.isfinite(length)):
            raise ValueError(f"the clock cannot be advanced by {seconds!r} s: use a number that is not negative")
        await self._use(asyncio.get_running_loop()).advance(length)

    def auto_advance(self, enabled: bool = True) -> None:
        """Advance to the next timer whenever nothing can run, from now on.

        Then no wait takes any time, in the test and in functions that are async. In a fixture that is not async, it
        begins when a client or a server connects.

        Raises:
            RuntimeError: the event loop is not asyncio's own.
        """
        self._auto = enabled
        loop = asyncio._get_running_loop()
        if loop is not None:
            self._use(loop)
        for time in self._times:
            (time.auto.add if enabled else time.auto.discard)(self)

    @contextmanager
    def real_time(self) -> Iterator[None]:
        """Skip no time inside the block: for threads that asyncio does not know, such as those of anyio."""
        time = self._use(asyncio.get_running_loop())
        time.kept_by.append(self)
        try:
            yield
        finally:
            if self in time.kept_by:
                time.kept_by.remove(self)

    def connected(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called when a client or a server connects on ``loop``."""
        if self._auto and asyncio._get_running_loop() is loop:
            self._use(loop)

    def release(self) -> None:
        """Let time pass as it does outside, until the clock is used again."""
        for time in self._times:
            time.release(self)
        self._times, self._began, self._auto = [], None, self._initially

    def _use(self, loop: asyncio.AbstractEventLoop) -> LoopTime:
        time = time_of(loop)
        if time not in self._times:
            time.hold(self, lambda: self._elsewhere(loop))
            self._times.append(time)
            self._began = time.time() if self._began is None else self._began
        if self._auto:
            time.auto.add(self)
        return time

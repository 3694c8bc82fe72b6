"""The time of one event loop, which a test may let pass without waiting.

An event loop of asyncio asks its selector whether anything has happened, for as long as no callback is ready and no
timer is due. That is the one place where time passes: it is replaced, together with the clock of the loop. So what
advances the clock is no task, which could be starved, cancelled or outlive the test.

While callbacks run, the clock stands still. Where the loop would wait, time is skipped if the test wants it and nothing
outside of the loop is awaited; else the loop waits, and the clock goes on by as much.
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from rabibridge_core._clock import carried, forget_virtual, use_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoopTime", "time_of"]

_BUSY = 100_000
"""After so many turns of the loop without a pause, time passes as it does outside: somebody waits for it in a loop of
``asyncio.sleep(0)``."""
_STARTS_PROCESSES = ("subprocess_exec", "subprocess_shell")
_real = (time.monotonic,)  # in a tuple, where libraries that freeze time do not find it


class LoopTime:
    """The time of one event loop, from the moment on that a test has used it.

    Attributes:
        auto: who wants time to be skipped whenever the loop would wait.
        kept_by: who asks that time passes as it does outside.
        elsewhere: functions that each name something that uses other clocks, in words; empty: nothing.
    """

    def __init__(self, loop: asyncio.SelectorEventLoop) -> None:
        """Take the clock and the selector of ``loop``."""
        self.auto: set[object] = set()
        self.kept_by: list[object] = []
        self.elsewhere: dict[object, Callable[[], str]] = {}
        self._loop = ref(loop)
        self._resolution: float = loop._clock_resolution  # type: ignore[attr-defined]
        self._now = loop.time()
        self._stands = False
        self._ahead = 0.0
        self._waiting_since: float | None = None
        self._longest = math.inf
        self._turns, self._turned_at = 0, 0.0
        self._advances: list[tuple[float, asyncio.Future[None]]] = []
        self._outside: WeakSet[asyncio.Future[Any]] = WeakSet()
        self._processes: WeakSet[asyncio.SubprocessTransport] = WeakSet()
        self._selector: Any = None
        loop.time = self.time  # type: ignore[method-assign]
        use_virtual(loop, self)

    @property
    def stands(self) -> bool:
        """Whether a test uses the clock now: it stands still while the loop works."""
        return self._stands

    def time(self) -> float:
        """Return the time of the loop, in seconds."""
        if not self._stands:
            return _real[0]() + self._ahead
        if (since := self._waiting_since) is not None:
            return self._now + min(_real[0]() - since, self._longest)
        return self._now

    def hold(self, owner: object, elsewhere: Callable[[], str]) -> None:
        """Let the clock stand still while the loop works; without effect the second time for one owner."""
        self.elsewhere[owner] = elsewhere
        loop = self._loop()
        if self._stands or loop is None:
            return
        self._now, self._stands = self.time(), True
        self._selector = loop._selector  # type: ignore[attr-defined]
        loop._selector = _Selector(self._selector, self.select)  # type: ignore[attr-defined]
        if "run_in_executor" not in vars(loop):
            run: Any = partial(self._run_in_executor, loop.run_in_executor)
            loop.run_in_executor = run  # type: ignore[method-assign]
        shut_down = loop.shutdown_default_executor

        async def shutdown_default_executor(*args: Any) -> None:
            ended = loop.create_future()  # a thread joins those of the executor; from Python 3.12 on, for 300 s at most
            self.outside(ended)
            try:
                await shut_down(*args)
            finally:
                ended.cancel()

        loop.shutdown_default_executor = shutdown_default_executor  # type: ignore[method-assign]
        for name in _STARTS_PROCESSES:
            setattr(loop, name, self._watching(getattr(loop, name)))
        self._set(self._now)

    def release(self, owner: object) -> None:
        """Let time pass as it does outside once no owner is left, from where it is: it never goes back."""
        self.auto.discard(owner)
        self.elsewhere.pop(owner, None)
        self.kept_by = [one for one in self.kept_by if one is not owner]
        loop = self._loop()
        if self.elsewhere or not self._stands or loop is None:
            return
        self._ahead = max(0.0, self._now - _real[0]())
        self._stands = False
        loop._clock_resolution = self._resolution  # type: ignore[attr-defined]
        for name in ("shutdown_default_executor", *_STARTS_PROCESSES):
            delattr(loop, name)
        if not loop.is_closed():
            loop._selector = self._selector  # type: ignore[attr-defined]
        self._selector, self._advances = None, []
        if self._ahead == 0.0:  # what was skipped has passed outside, too
            forget_virtual(loop)
            del loop.time, loop.run_in_executor

    def _run_in_executor(
        self, run: Callable[..., asyncio.Future[Any]], executor: Executor | None, work: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run work that keeps time from being skipped; in a thread, it has the time of this loop."""
        if executor is None or isinstance(executor, ThreadPoolExecutor):  # others may send it to another process
            waiting = run(executor, carried(partial(work, *args)))
        else:
            waiting = run(executor, work, *args)
        self.outside(waiting)
        return waiting

    def _watching(self, start: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``start`` so that the processes that it starts are known: some loops wait for them by threads."""

        async def run(*args: Any, **kwargs: Any) -> Any:
            transport, protocol = await start(*args, **kwargs)
            self._processes.add(transport)
            return transport, protocol

        return run

    def outside(self, waiting: asyncio.Future[Any]) -> None:
        """Let no time be skipped before ``waiting`` is done."""
        self._outside.add(waiting)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and all that is due in it run to where it waits again.

        Raises:
            RuntimeError: the loop waits for a socket or a process meanwhile, or another clock is used.
        """
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[None] = loop.create_future()
        self._advances.append((self._now + seconds, reached))
        await reached

    def select(self, timeout: float | None) -> list[Any]:
        """Return what has happened; called by the loop, which can wait for ``timeout`` seconds."""
        events: list[Any] = self._selector.select(0)
        if events or timeout == 0:
            self._turned()
            return events
        self._turns = 0
        self._advances = [one for one in self._advances if not one[1].done()]
        due = [reached for at, reached in self._advances if at <= self._now]
        if due:
            self._advances = [one for one in self._advances if one[1] not in due]
            for reached in due:
                reached.set_result(None)
            return []
        wanted = min((at for at, _ in self._advances), default=math.inf)
        to = min(wanted, math.inf if timeout is None else self._now + timeout)
        if not (self._advances or self.auto) or math.isinf(to):
            return self._wait(timeout)
        if self.kept_by or any(not one.done() for one in self._outside):
            return self._wait(to - self._now)
        if (why := self._other_clock()) and self._advances:
            advances, self._advances = self._advances, []
            for _, reached in advances:
                reached.set_exception(RuntimeError(f"the clock of fake_broker cannot be advanced: {why}"))
            return []
        if why:
            return self._wait(timeout)
        self._set(max(to, math.nextafter(self._now, math.inf)))
        return []

    def _other_clock(self) -> str:
        """Return what keeps time from being skipped, in words; empty: nothing."""
        if any(one.get_returncode() is None for one in self._processes):
            return "this event loop waits for a process, for which time passes as it does outside"
        own: Any = getattr(self._loop(), "_ssock", None)  # by which other threads wake the loop
        for key in self._selector.get_map().values():
            if own is None or key.fd != own.fileno():
                return (
                    f"this event loop waits for a socket or a pipe (file descriptor {key.fd}), for which time passes "
                    "as it does outside"
                )
        return next((text for other in self.elsewhere.values() if (text := other())), "")

    def _wait(self, timeout: float | None) -> list[Any]:
        """Wait outside, and let as much time pass."""
        self._longest = math.inf if timeout is None else timeout
        self._waiting_since = began = _real[0]()
        try:
            events: list[Any] = self._selector.select(timeout)
        finally:
            waited = _real[0]() - began
            self._waiting_since = None
        passed = waited if timeout is None or (events and waited < timeout) else timeout
        self._set(self._now + passed)
        return events

    def _turned(self) -> None:
        self._turns += 1
        if self._turns >= _BUSY:
            now = _real[0]()
            if self._turns > _BUSY:
                self._set(self._now + now - self._turned_at)
            self._turned_at = now

    def _set(self, now: float) -> None:
        self._now = now
        # A timer must be due at its very time, however large: a loop that finds it early by a rounding would spin.
        loop: Any = self._loop()
        if loop is not None:
            loop._clock_resolution = max(self._resolution, 2 * math.ulp(now))


class _Selector:
    """The selector of an event loop, but for how it waits."""

    def __init__(self, real: Any, select: Callable[[float | None], list[Any]]) -> None:
        self._real, self.select = real, select

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def time_of(loop: asyncio.AbstractEventLoop) -> LoopTime:
    """Return the time of an event loop, which is the same object each time.

    Raises:
        RuntimeError: the event loop is not asyncio's own, or waits by the completion ports of Windows.
    """
    found = getattr(getattr(loop, "time", None), "__self__", None)
    if isinstance(found, LoopTime):
        return found
    if not isinstance(loop, asyncio.SelectorEventLoop):
        name = f"{type(loop).__module__}.{type(loop).__qualname__}"
        raise RuntimeError(
            f"the clock of fake_broker works with asyncio.SelectorEventLoop, and this event loop is a {name}, "
            "which has a clock of its own: run tests that advance the clock without uvloop, and on Windows with "
            "asyncio.SelectorEventLoop"
        )
    return LoopTime(loop)

"""How much time a request has left, although it may be late and its caller's clock may be wrong.

A request says when it was sent by its caller's clock. Seen from here it is a certain age, and that age has two causes
that look alike: the clocks differ, or the request was delayed: by a worker whose loop was held, a broker that stood
still, an alarm, a slow link. The rule that tells them apart:

- The difference of the clocks is learned for each caller: it is the least age of its recent requests, since no request
  is younger than it is. What exceeds it is delay, and uses up the caller's time. Of a new caller, the clocks are
  assumed to agree.
- A request can be older than its whole timeout only if it was delayed outside the queue, since the broker drops what
  expires there, or if the clocks differ. From a caller whose clock is known, it was delayed: it is too late. So it is
  if this process was held just now for long enough, or if requests of callers whose clocks are known are late, too.
- Otherwise the clocks may differ, which is believed when it is steady: requests that were sent at different times have
  the same age. Until then such a request runs, but a moment later: the cancellation that its caller sends when it gives
  up arrives right behind it.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from rabibridge_core._clock import steady, wall
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_CALLERS", "CallerClocks", "UnprovenTime"]

_log = get_logger(__name__)

MAX_CALLERS = 2048
"""Number of callers whose clocks are remembered; the least recently used half is forgotten first."""
_ON_TIME = 0.1
"""Delays below this many seconds are normal, and ages that differ by less are equal."""
_WINDOW = 30.0
"""The least age is that of the last 30 to 60 seconds with requests that were on time."""
_DRIFT = 0.02
"""By how much a difference may grow from one window to the next, in seconds: more than clocks drift or are slewed
(15 ms in 30 s), and less than the delay of a queue that grows."""
_STEADY_NEW, _STEADY_KNOWN = 1.0, 30.0
"""Over how many seconds requests must have been sent with the same age until a difference of the clocks is believed: of
a new caller, and of one whose clock agreed before."""
_STEADY_LENGTH = 10
"""How many requests of a caller whose clock agreed before must have shown the same age."""
_TICK = 0.25
"""Interval in seconds at which this process looks whether it was held."""


class UnprovenTime(float):
    """The time left to a request that is either much too late, or from a caller whose clock is wrong."""


class _CallerClock:
    """What is known about the clock of one caller.

    Attributes:
        offset: how far this machine's clock is ahead of the caller's, in seconds, including the least delay.
        before: the offset before this machine's clock was set back: that of the caller may have been set with it.
        proven: whether the offset is more than a suspicion.
        least: the least age of the requests that were on time since the window began.
        window_ends: when the window ends, by this machine's clock.
        run_age, run_sent, run_length: an unbroken run of late requests with the same age: that of the first one, when
            it was sent, and their number.
    """

    __slots__ = ("before", "least", "offset", "proven", "run_age", "run_length", "run_sent", "window_ends")

    def __init__(self, offset: float, now: float, *, proven: bool) -> None:
        self.offset = offset
        self.before = 0.0 if offset <= -_ON_TIME else -math.inf  # it may have been sent before the clocks were set
        self.proven = proven
        self.least = math.inf
        self.window_ends = now + _WINDOW
        self.run_age, self.run_sent, self.run_length = offset, now - offset, 1

    def suspect(self, age: float, now: float) -> None:
        self.offset = self.run_age = age
        self.run_sent = now - age

    def was_set_too(self, age: float, time_left: float, now: float) -> bool:
        """Tell whether a late request is on time if the caller's clock was set back with this machine's."""
        if not -_ON_TIME < age - self.before < time_left:
            return False
        self.offset, self.before = min(age, self.before), -math.inf
        self.least, self.window_ends = math.inf, now + _WINDOW
        return True


class CallerClocks:
    """The clocks of the callers of one server. At most 2,048 callers are remembered."""

    def __init__(self, wall_clock: Callable[[], float] = wall, steady_clock: Callable[[], float] | None = None) -> None:
        """Know no caller yet.

        Args:
            wall_clock: seconds since 1970.
            steady_clock: seconds on a clock that is never set; ``None``: the machine's.
        """
        self.now = wall_clock
        self._steady = steady_clock or steady
        self._set_at = self.now() - self._steady()
        self._recent: dict[bytes, _CallerClock] = {}
        self._older: dict[bytes, _CallerClock] = {}
        self._logged = False
        self._delay_seen_at = self._queue_stood_at = -math.inf
        self._delay_seen = 0.0
        self._held_at = -math.inf
        self._held_for = 0.0
        self._ticked: float | None = None
        self._ticker: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of callers that are remembered."""
        return len(self._recent) + len(self._older)

    def start(self) -> None:
        """Notice from now on when the running event loop is held; without effect when started."""
        if self._ticker is None:
            self._ticked = self._steady()
            self._ticker = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def stop(self) -> None:
        """Notice it no longer."""
        if self._ticker is not None:
            self._ticker.cancel()
        self._ticker = self._ticked = None

    def standing_queue(self) -> None:
        """Called when a request has to wait here: the least age of those that come now includes the wait in a queue."""
        self._queue_stood_at = self.now()

    def remaining(self, caller: bytes, time_left: float, deadline: float, now: float) -> float:
        """Return the time left to a request, in seconds; 0 or less: it is too late.

        An :class:`UnprovenTime` says that it may be much too late. It should be given a moment to be cancelled.

        Args:
            caller: identifies the caller; empty: unknown.
            time_left: the time left when it was sent, in seconds.
            deadline: when that time is over by the caller's clock, in seconds since 1970.
            now: when it arrived, by :attr:`now`.
        """
        age = now - deadline + time_left
        clock = self._recent.get(caller)
        if clock is not None:
            delay = age - clock.offset
            if 0.0 <= delay < time_left and now < clock.window_ends and clock.proven:
                if delay < _ON_TIME and age < clock.least:
                    clock.least = age
                return time_left - delay
        return self._judge(caller, age, time_left, now)

    def reconsidered(self, caller: bytes, time_left: float, deadline: float, now: float) -> float:
        """Return the time that was left to a request with an :class:`UnprovenTime`, by what is known by now."""
        clock = self._find(caller)
        return time_left if clock is None else time_left - max(0.0, now - deadline + time_left - clock.offset)

    def _judge(self, caller: bytes, age: float, time_left: float, now: float) -> float:
        if not -_ON_TIME < age < time_left:
            self._follow_setting()
        clock = self._find(caller)
        if clock is None:
            return self._judge_new(caller, age, time_left, now)
        if not clock.proven:
            return self._judge_suspected(clock, age, time_left, now)
        if age < clock.offset:  # a request cannot be younger than it is
            if age < clock.offset - _ON_TIME:
                self._log_difference(age)
            clock.offset = clock.least = age
        delay = age - clock.offset
        if delay < _ON_TIME:
            clock.least = min(clock.least, age)
        if now >= clock.window_ends:
            if clock.least < math.inf and now - self._queue_stood_at > _WINDOW:
                clock.offset = min(clock.least, clock.offset + _DRIFT)
            clock.least, clock.window_ends = math.inf, now + _WINDOW
        if delay < time_left + _ON_TIME:
            return time_left - delay
        return self._judge_late(clock, age, time_left, now)

    def _judge_new(self, caller: bytes, age: float, time_left: float, now: float) -> float:
        if age < time_left + _ON_TIME:
            if caller:
                self._remember(caller, _CallerClock(min(age, 0.0), now, proven=True))
            if age <= -_ON_TIME:
                self._log_difference(age)
            return time_left - max(age, 0.0)
        if self._is_delayed(age, time_left):
            return time_left - age  # nothing is learned about its clock
        if caller:
            self._remember(caller, _CallerClock(age, now, proven=False))
        return UnprovenTime(time_left)

    def _judge_suspected(self, clock: _CallerClock, age: float, time_left: float, now: float) -> float:
        """Judge a request of a caller all of whose requests so far were older than their timeout."""
        if age < time_left + _ON_TIME:  # those were delayed
            clock.proven, clock.offset = True, min(age, 0.0)
            return time_left - max(age, 0.0)
        if self._is_delayed(age, time_left):
            return time_left - age
        if age <= clock.offset - _ON_TIME:  # those were delayed, and so may this one be
            clock.suspect(age, now)
            return UnprovenTime(time_left)
        delay = max(0.0, age - clock.offset)
        if delay < _ON_TIME and now - age - clock.run_sent >= _STEADY_NEW:
            clock.proven, clock.offset = True, min(clock.offset, age)
            self._log_difference(clock.offset)
            return time_left - delay
        return UnprovenTime(time_left - delay)

    def _judge_late(self, clock: _CallerClock, age: float, time_left: float, now: float) -> float:
        """Judge a request that is too late, from a caller whose clock is known: it is delayed, or the clock was set."""
        if clock.was_set_too(age, time_left, now):
            return UnprovenTime(time_left - (age - clock.offset))
        self._see_delay(age - clock.offset)
        sent = now - age
        if clock.least < math.inf or abs(age - clock.run_age) >= _ON_TIME:
            clock.least = math.inf
            clock.run_age, clock.run_sent, clock.run_length = age, sent, 1
            return time_left + clock.offset - age
        clock.run_length += 1
        if clock.run_length >= _STEADY_LENGTH and sent - clock.run_sent >= _STEADY_KNOWN:
            clock.offset = min(age, clock.run_age)
            self._log_difference(clock.offset)
            return time_left - (age - clock.offset)
        return time_left + clock.offset - age

    def _see_delay(self, delay: float) -> None:
        now = self._steady()
        if now - self._delay_seen_at >= _STEADY_NEW:
            self._delay_seen = 0.0
        self._delay_seen_at, self._delay_seen = now, max(delay, self._delay_seen)

    def _is_delayed(self, age: float, time_left: float) -> bool:
        """Tell whether something other than a wrong clock explains that a request is older than its timeout."""
        now = self._steady()
        if now - self._delay_seen_at < _STEADY_NEW and age < 1.5 * self._delay_seen:
            return True  # requests of others are as late
        too_late = age - time_left - _ON_TIME
        if self._ticked is not None and (held := now - self._ticked) > _TICK + _ON_TIME and too_late < held:
            return True
        return too_late < self._held_for and now - self._held_at <= max(self._held_for, _STEADY_NEW)

    def _tick(self) -> None:
        now = self._steady()
        assert self._ticked is not None
        held = now - self._ticked
        if held > _TICK + _ON_TIME and (held > self._held_for or now - self._held_at > self._held_for):
            self._held_at, self._held_for = now, held
        self._ticked = now
        self._ticker = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _follow_setting(self) -> None:
        """Correct all offsets if this machine's clock was set."""
        set_at = self.now() - self._steady()
        step = set_at - self._set_at
        if abs(step) >= _ON_TIME / 2:
            self._set_at = set_at
            for clock in (*self._recent.values(), *self._older.values()):
                clock.before = clock.offset if step < 0 else -math.inf
                clock.offset += step
                clock.least += step
                clock.run_age += step
                clock.window_ends += step

    def _find(self, caller: bytes) -> _CallerClock | None:
        clock = self._recent.get(caller)
        if clock is None and (clock := self._older.pop(caller, None)) is not None:
            self._remember(caller, clock)
        return clock

    def _remember(self, caller: bytes, clock: _CallerClock) -> None:
        if len(self._recent) >= MAX_CALLERS // 2:
            self._older, self._recent = self._recent, {}
        self._recent[caller] = clock

    def _log_difference(self, offset: float) -> None:
        if not self._logged and abs(offset) >= _ON_TIME:
            self._logged = True
            _log.warning(
                "the clock of a caller is %.1f s %s this machine's. Its calls get their time all the same; keep clocks "
                "synchronised. Further such callers are not logged",
                abs(offset), "behind" if offset > 0 else "ahead of",
                extra=log_fields("caller.clock_differs", duration=abs(offset)),
            )  # fmt: skip

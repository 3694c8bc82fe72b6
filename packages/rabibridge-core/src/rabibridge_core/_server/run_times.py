"""Knows how long the runs of one service take at least: which calls can no longer end in the time that they have.

A call is refused only if it cannot end, so the figure is the least time that a run has taken lately, not an average. A
service whose runs take 1 ms or 1 s, by their arguments, refuses nothing that has 1 ms left, however rare the short runs
are. What is known ages: a run counts for one to two minutes.

Nothing is measured as long as no run is wasted, so that it costs nothing where all calls end in time: it begins when a
run is cancelled at its deadline, and ends two minutes after the last such run and the last refusal.

- Only runs that have returned a result say how long a run takes. One that raised may have failed early.
- A run that was cancelled at its deadline says that it needs more time than it had. So a service that has become too
  slow for all of its callers is recognised, too.
- While fewer than :data:`MIN_RUNS` runs are known to have needed more time than a call has, nothing is refused.
- Some calls that would be refused run all the same, as probes: otherwise a service that has become faster, or whose
  calls differ by caller, would never learn it. A probe is a run like any other. It holds no permit that could be lost.

There is no timer and no event loop here: whoever asks says what time it is.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["MIN_RUNS", "PROBE_INTERVAL", "PROBE_RUNS", "WINDOW", "RunTimes"]

MIN_RUNS = 20
"""So many recent runs must have needed more time than a call has before it is refused."""
WINDOW = 60.0
"""Runs count for this many seconds at least, and for twice as many at most."""
PROBE_RUNS, PROBE_INTERVAL = 1_000, 10.0
"""A call that would be refused runs if so many runs have ended since the last such call, or after so many seconds."""
_CUT_KEPT = 64


class _Window:
    """The runs that ended within one window.

    Attributes:
        runs: how many returned a result.
        least: the least time that one of them took, in seconds.
        cut: how long those ran that were cancelled at their deadline; the last ones.
    """

    __slots__ = ("cut", "least", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.least = math.inf
        self.cut: deque[float] = deque(maxlen=_CUT_KEPT)


class RunTimes:
    """The run times of one service on one worker.

    Attributes:
        least: the least time that a recent run took, in seconds; infinite if none is known. A call that has at least
            this much time left is not refused, so that :meth:`refuses` need not be asked.
        idle_at: when measuring may end, unless a run is wasted or refused before.
    """

    __slots__ = ("_before", "_ended", "_now", "_probe_after", "_probe_at", "_turned_at", "idle_at", "least")

    def __init__(self, now: float) -> None:
        """Know nothing yet; ``now`` is the time, in seconds."""
        self._now, self._before = _Window(), _Window()
        self._turned_at = now
        self._ended = 0
        self._probe_at, self._probe_after = -math.inf, 0
        self.least = math.inf
        self.idle_at = now + 2 * WINDOW

    def ended(self, seconds: float) -> None:
        """Called when a run has returned a result after ``seconds``: for each call, so that it must be quick."""
        window = self._now
        window.runs += 1
        if seconds < window.least:
            window.least = seconds
            if seconds < self.least:
                self.least = seconds

    def cut(self, seconds: float, now: float) -> None:
        """Called when a run was cancelled at its deadline after ``seconds``; 0: it was not measured."""
        if seconds:
            self._now.cut.append(seconds)
        self._ended += 1
        self.idle_at = now + 2 * WINDOW

    def refuses(self, time_left: float, now: float) -> bool:
        """Tell whether a call cannot end in ``time_left`` seconds, as far as is known, and is no probe."""
        self.age(now)
        if time_left >= self.least or self._evidence(time_left) < MIN_RUNS:
            return False
        ended = self._ended + self._now.runs
        if ended >= self._probe_after or now >= self._probe_at:
            self._probe_after, self._probe_at = ended + PROBE_RUNS, now + PROBE_INTERVAL
            return False
        self.idle_at = now + 2 * WINDOW
        return True

    def age(self, now: float) -> None:
        """Forget runs that ended too long ago."""
        age = now - self._turned_at
        if age < WINDOW:
            return
        self._ended += self._now.runs
        self._before = self._now if age < 2 * WINDOW else _Window()
        self._now, self._turned_at = _Window(), now
        self.least = self._before.least

    def _evidence(self, time_left: float) -> int:
        """Return how many recent runs needed more than ``time_left`` seconds, which is less than :attr:`least`."""
        windows = (self._before, self._now)
        return sum(window.runs + sum(seconds >= time_left for seconds in window.cut) for window in windows)

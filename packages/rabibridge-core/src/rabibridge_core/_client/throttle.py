"""Sends fewer of the calls of a service whose workers refuse calls that have waited too long.

Such a refusal costs the broker a message in each direction and the worker its attention, unlike one by a full queue. So
a client that is refused by workers sends at most about twice as many calls as are answered, and refuses the others
itself, at once: adaptive throttling, as in "Handling Overload" of Google's Site Reliability Engineering. What it sends
beyond what is answered tells when there is room again.

There is no timer and no event loop here: whoever asks says what time it is.
"""

from __future__ import annotations

import math
import random

__all__ = ["CallThrottle"]

_RATIO = 2.0
"""So many calls are sent for each that is answered."""
_MEMORY, _MEMORY_IN_WAITS = 1.0, 5.0
"""Time in which what is known of the past fades to a third: in seconds, or in waits if that is longer. What is sent can
grow so fast, after the workers have become faster."""
_LEAST_INTERVAL = 0.1
"""A call is sent if none was for so long, in seconds."""


class CallThrottle:
    """What one client knows of the calls of one service, and how many of them it sends."""

    __slots__ = ("_answered", "_counts_from", "_draw", "_faded_at", "_made", "_memory", "_sent_at", "_throttles_from")

    def __init__(self, now: float, wait: float, draw: random.Random | None = None) -> None:
        """Send all calls at first: for as long as the answers to two calls take.

        Args:
            now: the time, in seconds.
            wait: how long a call waits before it is run or refused, in seconds. Answers come so much later than calls
                are made, so that the calls of this time are not counted.
            draw: decides which calls are sent; ``None``: by chance.
        """
        self._counts_from, self._throttles_from = now + wait, now + 2 * wait
        self._memory = max(_MEMORY, _MEMORY_IN_WAITS * wait)
        self._made = self._answered = 0.0
        self._faded_at = now
        self._sent_at = -math.inf
        self._draw = random.random if draw is None else draw.random  # nobody gains by guessing

    def sends(self, now: float) -> bool:
        """Called for each call: tell whether it is sent."""
        if now < self._counts_from:
            return True
        self._fade(now)
        excess = (self._made - _RATIO * self._answered) / (self._made + 1.0)
        self._made += 1.0
        if now >= self._throttles_from and now - self._sent_at < _LEAST_INTERVAL and self._draw() < excess:
            return False
        self._sent_at = now
        return True

    def answered(self, now: float) -> None:
        """Called when a call was answered."""
        self._fade(now)
        self._answered += 1.0

    def _fade(self, now: float) -> None:
        if now > self._faded_at:
            left = math.exp((self._faded_at - now) / self._memory)
            self._made *= left
            self._answered *= left
            self._faded_at = now

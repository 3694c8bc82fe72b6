"""Bounds the dead letters of each sender, so that none can push the letters of others out of their queue.

The queue drops its oldest letters when it is full. A worker counts the bytes of the letters that it publishes for each
sender and service. A sender is a user of the broker, if the broker vouches for it. Where all callers log in as one
user, a flood at one service thus leaves room for the letters of the others; all services together have a few shares of
each sender, so that nobody gets more by flooding them all. Whoever sends without a user can have as many reply
addresses as it likes: all of these together have no more than one user has.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    _Key = tuple[str | bytes, str]

__all__ = ["OF_ALL", "SHARE", "LetterShares"]

_log = get_logger(__name__)
SHARE: Final = 8 * 2**20
"""Bytes of dead letters that one sender may have at once of one service by one worker, and again per day: a 32nd of the
queue."""
OF_ALL: Final = 4
"""A sender has so many shares for all services together, and so have all senders without a user."""
_DAY = 24 * 3600.0
_OVERHEAD = 512
"""What a letter takes beside its body."""
_KEPT_MAX = 8_192
_LOG_INTERVAL = 60.0


class LetterShares:
    """The shares of one worker. A sender that has used its share up regains it in the course of a day."""

    __slots__ = ("_clock", "_left", "_limited", "_name", "_share")

    def __init__(self, name: str, share: int = SHARE, clock: Callable[[], float] = monotonic) -> None:
        """Keep the shares of the worker ``name``: ``share`` bytes each; ``clock`` returns seconds."""
        self._name = name
        self._share = share
        self._clock = clock
        self._left: dict[_Key, tuple[float, float]] = {}
        """Bytes left and when they were, by user or address, and service; under the empty texts what is for all."""
        self._limited = LimitedLog(_log, _LOG_INTERVAL, clock)

    def admit(self, user: str, address: bytes, service: str, size: int) -> bool:
        """Count a letter with a body of ``size`` bytes, and return whether to keep it; log those that are not.

        ``service`` is the name of the queue.
        """
        own: str | bytes = user or address
        shares: dict[_Key, int] = {(own, service): 1, (own, ""): OF_ALL}
        if not user:
            shares["", ""] = OF_ALL
        now = self._clock()
        left = {key: self._left_of(key, share * self._share, now) for key, share in shares.items()}
        cost = size + _OVERHEAD
        if min(left.values()) < min(cost, self._share):  # one that is larger needs the whole share
            self._log(own, service)
            return False
        for key, bytes_left in left.items():
            self._left[key] = bytes_left - cost, now
        while len(self._left) > _KEPT_MAX:
            self._forget()
        return True

    def _left_of(self, key: _Key, share: int, now: float) -> float:
        left, then = self._left.pop(key, (float(share), now))  # the one used last is at the end
        left = min(float(share), left + share * (now - then) / _DAY)
        self._left[key] = left, now
        return left

    def _forget(self) -> None:
        """Forget the sender whose last letter is the oldest, but not what all without a user have left."""
        del self._left[next(key for key in self._left if key != ("", ""))]

    def _log(self, sender: str | bytes, service: str) -> None:
        shown = sender.decode("utf-8", "backslashreplace") if isinstance(sender, bytes) else sender
        self._limited.log(
            f"{self._name}: a sender has used up its share of dead letters: one is dropped", logging.ERROR,
            "%s: %s has used up its share of dead letters of %r (%d bytes, and %d for all services; regained within a "
            "day): one is dropped",
            self._name, shown or "a sender without a reply address", service, self._share, OF_ALL * self._share,
            extra=log_fields("letter.share_used_up", instance=self._name),
        )  # fmt: skip

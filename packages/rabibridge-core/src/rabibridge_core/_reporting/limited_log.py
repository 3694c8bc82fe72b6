"""Logs what can happen a thousand times a second: the first of each kind at once, and then how many there were."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._clock import monotonic

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

__all__ = ["LimitedLog"]

_KINDS_MAX: Final = 64
_KEPT: Final = frozenset(("rb_event", "rb_instance", "rb_service"))
_OTHERS: Final = "lines of yet other kinds"


class _Kind:
    __slots__ = ("extra", "level", "open_at", "suppressed")

    def __init__(self, level: int, open_at: float, extra: dict[str, object]) -> None:
        self.level = level
        self.open_at = open_at
        self.suppressed = 0
        self.extra = extra


class LimitedLog:
    """Lets one line of each kind through in ``interval`` seconds, and logs the number of the others after that.

    The number is logged when the interval is over if an event loop runs in the thread that logs; else together with the
    next line of any kind, or by :meth:`summarize`. At most 64 kinds are told apart at a time: what comes beyond them is
    one kind, the first line of which is logged as well. It may be used from any thread.
    """

    __slots__ = ("__weakref__", "_clock", "_interval", "_kinds", "_lock", "_log", "_loop")

    def __init__(self, log: logging.Logger, interval: float = 10.0, clock: Callable[[], float] = monotonic) -> None:
        """Log by ``log``; ``clock`` returns seconds."""
        self._log = log
        self._interval = interval
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()  # never held while a record is handled, which may cause another one
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that has a timer for the next summary."""
        _all.add(self)

    def log(
        self, what: str, level: int, message: str, *arguments: object, extra: dict[str, object], exc_info: Any = None
    ) -> None:
        """Log a line, unless one of its kind was logged less than the interval ago.

        Args:
            what: the kind, in words: the summary shows it. It holds nothing from outside the program.
            level: the level, as in the logging package.
            message: the template of the line.
            arguments: its values.
            extra: what :func:`log_fields` returns.
            exc_info: as in the logging package.
        """
        if not self._log.isEnabledFor(level):
            return
        now = self._clock()
        with self._lock:
            over = self._over(now)
            if what not in self._kinds and len(self._kinds) >= _KINDS_MAX:
                what = _OTHERS
            kind = self._kinds.get(what)
            if kind is None:
                kept = {name: value for name, value in extra.items() if name in _KEPT}
                self._kinds[what] = _Kind(level, now + self._interval, kept)
            else:
                kind.suppressed += 1
        self._tell(over)
        if kind is None:
            self._log.log(level, message, *arguments, extra=extra, exc_info=exc_info, stacklevel=2)
        elif self._loop is None or self._loop.is_closed():
            self._arm(kind.open_at - now)

    def summarize(self) -> None:
        """Log now how many lines were left out, and let the next line of each kind through."""
        with self._lock:
            over = self._over(float("inf"))
        self._tell(over)

    def _over(self, now: float) -> list[tuple[str, _Kind]]:
        """Remove and return the kinds of which another line may be logged. The lock is held."""
        over = [(what, kind) for what, kind in self._kinds.items() if kind.open_at <= now]
        for what, _ in over:
            del self._kinds[what]
        return over

    def _tell(self, over: list[tuple[str, _Kind]]) -> None:
        for what, kind in over:
            if kind.suppressed:
                extra = kind.extra | {"rb_suppressed": kind.suppressed}
                text = "%d more times within %g s: %s"
                self._log.log(kind.level, text, kind.suppressed, self._interval, what, extra=extra)

    def _arm(self, delay: float) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        else:
            own: weakref.ref[LimitedLog] = weakref.ref(self)
            self._loop.call_later(max(delay, 0.0), _due, own)

    def _elapsed(self) -> None:
        self._loop = None
        now = self._clock()
        with self._lock:
            over = self._over(now)
            waiting = [kind.open_at for kind in self._kinds.values() if kind.suppressed]
        self._tell(over)
        if waiting:
            self._arm(min(waiting) - now)

    def _forked(self) -> None:
        self._lock, self._loop = threading.Lock(), None
        self._kinds.clear()


_all = weakref.WeakSet[LimitedLog]()


def _due(limited: weakref.ref[LimitedLog]) -> None:
    if (found := limited()) is not None:
        found._elapsed()


def _in_forked_child() -> None:
    """The parent logs what it has counted; a lock that one of its threads held is held by nobody here."""
    for limited in list(_all):
        limited._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)

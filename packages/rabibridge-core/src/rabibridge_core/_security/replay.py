"""Remembers which requests have arrived, so that each runs here once: a bit for each, in pages of one sender.

A sender numbers its requests. A page holds the marks of 1,024 consecutive numbers of one sender until the last of them
has expired; nothing is forgotten before that. When there are too many pages, what needs another one is refused.

The clock may jump: what has been forgotten stays refused, because no request is accepted any more that expires no later
than the last one that was forgotten.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["PAGE_SIZE", "Mark", "ReplayMemory", "Verdict"]

PAGE_SIZE: Final = 1024
"""The requests that one page can mark."""

Mark: TypeAlias = tuple[str, str, int]
"""What is remembered: the scope in which a number is used once, its sender, and the number."""
Verdict: TypeAlias = Literal["new", "seen", "expired", "full"]
_PageKey: TypeAlias = tuple[str, str, int]


class _Page:
    __slots__ = ("bits", "until")

    def __init__(self) -> None:
        self.bits = bytearray(PAGE_SIZE // 8)
        self.until = 0.0


class ReplayMemory:
    """The requests that have arrived at one worker."""

    __slots__ = ("_capacity", "_horizon", "_look_at", "_pages")

    def __init__(self, capacity: int) -> None:
        """Remember with at most ``capacity`` pages."""
        self._capacity = capacity
        self._pages: dict[_PageKey, _Page] = {}
        self._horizon = float("-inf")
        self._look_at = float("-inf")

    def __len__(self) -> int:
        """Return the number of pages."""
        return len(self._pages)

    def enter(self, mark: Mark, until: float, now: float) -> Verdict:
        """Mark a request that is accepted until ``until``, in seconds since 1970; only a new one may run."""
        if now > until or until <= self._horizon:
            return "expired"
        scope, sender, number = mark
        key = scope, sender, number // PAGE_SIZE
        page = self._pages.get(key)
        if page is None:
            if len(self._pages) >= self._capacity:
                self._forget_expired(now)
                if until <= self._horizon:
                    return "expired"
                if len(self._pages) >= self._capacity:
                    return "full"
            page = self._pages[key] = _Page()
            self._look_at = min(self._look_at, until)
        place, bit = divmod(number % PAGE_SIZE, 8)
        if page.bits[place] & (1 << bit):
            return "seen"
        page.bits[place] |= 1 << bit
        if until > page.until:
            page.until = until
        return "new"

    def _forget_expired(self, now: float) -> None:
        if now <= self._look_at:  # none has expired since it was last looked
            return
        kept: dict[_PageKey, _Page] = {}
        for key, page in self._pages.items():
            if now > page.until:
                self._horizon = max(self._horizon, page.until)
            else:
                kept[key] = page
        self._pages = kept
        self._look_at = min((page.until for page in kept.values()), default=float("-inf"))

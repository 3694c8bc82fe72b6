"""Counts and logs what is refused: each reason at once, but not once for each message."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Refusals"]

_log = get_logger(__name__)
_INTERVAL: Final = 10.0
_TEXT_MAX: Final = 300


class Refusals:
    """What one client or server has refused, by reason."""

    __slots__ = ("_counts", "_name", "_next", "_silent")

    def __init__(self, name: str) -> None:
        """Log for the client or server of this name."""
        self._name = name
        self._counts: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many messages were refused, by reason."""
        return dict(self._counts)

    def add(self, reason: str, text: str) -> None:
        """Count a message that was refused, and log it unless another one for this reason was logged just before."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        now = monotonic()
        if now < self._next.get(reason, 0.0):
            self._silent[reason] = self._silent.get(reason, 0) + 1
            return
        self._next[reason] = now + _INTERVAL
        others = self._silent.pop(reason, 0)
        _log.warning(
            "%s: a message is refused: %s%s",
            self._name,
            printable(text)[:_TEXT_MAX],
            f" (and {others} others since the last such line)" if others else "",
        )

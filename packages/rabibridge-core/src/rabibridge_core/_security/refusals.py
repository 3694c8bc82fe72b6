"""Counts and logs what is refused: each reason at once, but not once for each message."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Refusals"]

_log = get_logger(__name__)
_TEXT_MAX: Final = 300


class Refusals:
    """What one client or server has refused, by reason."""

    __slots__ = ("_counts", "_limited", "_name")

    def __init__(self, name: str) -> None:
        """Log for the client or server of this name."""
        self._name = name
        self._counts: dict[str, int] = {}
        self._limited = LimitedLog(_log)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many messages were refused, by reason."""
        return dict(self._counts)

    def add(self, reason: str, text: str) -> None:
        """Count a message that was refused, and log it unless another one for this reason was logged just before."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._limited.log(
            f"{self._name}: a message is refused: {reason}", logging.WARNING,
            "%s: a message is refused: %s", self._name, printable(text)[:_TEXT_MAX],
            extra=log_fields("message.refused", instance=self._name, reason=reason),
        )  # fmt: skip

"""Chooses the numbers of channels: aiormq takes the highest in use plus one, which may be above the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["ChannelNumbers"]

_MAX = 65535


class ChannelNumbers:
    """The numbers from 1 to ``maximum``, each used by one channel at a time."""

    def __init__(self, maximum: int) -> None:
        """Allow as many channels as the broker does; 0 means that it does not limit them."""
        self.maximum = maximum or _MAX
        """How many channels may be open."""
        self._last = 0

    def free(self, *in_use: Container[int]) -> int:
        """Return a number that none of these contains.

        Raises:
            ConfigurationError: all numbers are in use.
        """
        for _ in range(self.maximum):
            self._last = self._last % self.maximum + 1
            if not any(self._last in used for used in in_use):
                return self._last
        raise ConfigurationError(
            f"all {self.maximum} channels that the broker allows on a connection are open; raise channel_max there"
        )

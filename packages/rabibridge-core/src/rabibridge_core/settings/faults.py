"""Collects what is wrong with settings, so that one error tells all of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Faults"]


class Faults:
    """The faults that were found so far.

    Attributes:
        texts: one for each, in the order in which they were found; none comes twice.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Add a fault."""
        if text not in self.texts:
            self.texts.append(text)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Turn a ConfigurationError of the block into a fault. Only its text is kept, no frame that holds a secret."""
        try:
            yield
        except ConfigurationError as error:
            self.add(str(error))

    def raise_if_any(self) -> None:
        """Raise one error that tells all faults.

        Raises:
            ConfigurationError: there are faults.
        """
        if len(self.texts) == 1:
            raise ConfigurationError(self.texts[0])
        if self.texts:
            lines = "".join(f"\n- {text.replace(chr(10), chr(10) + '  ')}" for text in self.texts)
            raise ConfigurationError(f"there are {len(self.texts)} faults in the configuration:{lines}")

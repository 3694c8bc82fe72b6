"""Where a value was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Origin", "Rank", "SourcedValue"]


class Rank(IntEnum):
    """The places that settings come from, in their order of precedence: the lowest wins."""

    OPTION = 0
    ARGUMENT = 1
    VARIABLE = 2
    PROFILE = 3
    FILE = 4
    DEFAULT = 5


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of one value. ``str()`` of it is a noun phrase for error messages.

    Attributes:
        rank: the kind of place.
        name: the argument, option, variable or key.
        file: the configuration file, for a key.
        table: the table of the key, such as ``app`` or ``profile.staging.app``.
        line: line of the key in the file, from 1; ``None``: not known.
        parameter: the query parameter that holds the value, if the place holds a URL.
        secret_file: the file that holds the value, if the place holds its name.
    """

    rank: Rank
    name: str = ""
    file: Path | None = None
    table: str = ""
    line: int | None = None
    parameter: str = ""
    secret_file: str = ""

    def __str__(self) -> str:
        """Return the place in words."""
        place = {
            Rank.OPTION: f"the option --{self.name.replace('_', '-')}",
            Rank.ARGUMENT: f"the argument {self.name}=",
            Rank.VARIABLE: f"the environment variable {self.name}",
            Rank.DEFAULT: "the default",
        }.get(self.rank)
        if place is None:
            line = f", line {self.line}" if self.line else ""
            place = f"{self.name} under [{self.table}] in {self.file}{line}"
        if self.secret_file:
            return f"the file {self.secret_file}, which {place} names"
        return f"the query parameter {self.parameter} of {place}" if self.parameter else place


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value and where it was found.

    Attributes:
        value: the value as it was given.
        origin: the place.
    """

    value: Any = field(repr=False)
    origin: Origin

    @property
    def source(self) -> str:
        """The place, in words for error messages."""
        return str(self.origin)

    @property
    def rank(self) -> Rank:
        """Precedence of the place; the lowest wins."""
        return self.origin.rank

"""``fetch_size="auto"``: the bounds between which a worker finds out how many calls to run at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rabibridge_core.errors import RegistrationError

__all__ = ["START", "FetchSize", "as_fetch_size", "auto"]

START = 8
"""Where the limit starts, if the bounds allow it: low enough for a backend that bears little."""
MOST = 65535
AUTO_MAX, AUTO_MAX_IN_THREADS = 1024, 128
"""The upper bounds where none is given."""
_TEXT = re.compile(r"auto(?:\(\s*(?:min\s*=\s*)?(\d+)\s*(?:,\s*(?:max\s*=\s*)?(\d+)\s*)?\))?")


@dataclass(frozen=True, slots=True)
class auto:  # noqa: N801 - it is written where a number would be: fetch_size=auto(4, 64)
    """Let each worker find out how many calls of a service to run at a time, from how long they take.

    It is given as ``fetch_size``; ``fetch_size="auto"`` is ``fetch_size=auto()``. docs/overload.md says what it does,
    and when a number is better.

    Attributes:
        min: the fewest calls that a worker runs at a time while calls wait, at least 1.
        max: the most; ``None`` (the default): 1,024, or 128 for a function that runs in threads.

    Raises:
        RegistrationError: a bound is out of range, or ``max`` is less than ``min``.
    """

    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        """Check the bounds."""
        low, high = self.min, MOST if self.max is None else self.max
        if not all(type(bound) is int for bound in (low, high)) or not 1 <= low <= high <= MOST:
            raise RegistrationError(
                f"auto(min={self.min!r}, max={self.max!r}): the bounds must be whole numbers from 1 to {MOST}, min not "
                "above max"
            )

    def bounds(self, executor: str | None) -> tuple[int, int]:
        """Return the fewest and the most calls, for functions that run there."""
        most = AUTO_MAX_IN_THREADS if executor == "thread" else AUTO_MAX
        return self.min, max(most, self.min) if self.max is None else self.max


FetchSize: TypeAlias = int | auto | Literal["auto"]
"""How many calls a worker runs at a time: a number, or bounds between which it finds out."""


def as_fetch_size(value: FetchSize | str | None) -> int | auto | None:
    """Return a ``fetch_size`` as it is kept; a text is one of settings, such as ``auto`` or ``auto(4, 64)``.

    Raises:
        RegistrationError: the text is none of them.
    """
    if not isinstance(value, str):
        return value
    if (found := _TEXT.fullmatch(value.strip().lower())) is None:
        raise RegistrationError(
            f"fetch_size is {value!r}; it must be a whole number from 1 to {MOST}, 'auto', or auto(min, max)"
        )
    low, high = found.groups()
    return auto(int(low or 1), None if high is None else int(high))

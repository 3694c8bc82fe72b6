"""Reads the values of answers without trusting them: a later version may have sent them, or a forger."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["listed", "number", "optional_number", "optional_whole", "text", "whole"]

T = TypeVar("T")
_INT_MAX = 2**63 - 1


def text(value: object, longest: int) -> str:
    """Return a text of at most so many characters; empty for anything else."""
    return value[:longest] if isinstance(value, str) else ""


def whole(value: object) -> int:
    """Return a whole number from 0; 0 for anything else."""
    return optional_whole(value) or 0


def optional_whole(value: object) -> int | None:
    """Return a whole number from 0; ``None`` for anything else."""
    return value if type(value) is int and 0 <= value <= _INT_MAX else None


def number(value: object) -> float:
    """Return a finite number; 0.0 for anything else."""
    return optional_number(value) or 0.0


def optional_number(value: object) -> float | None:
    """Return a finite number; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


def listed(value: object, read: Callable[[object], T | None], most: int) -> tuple[T, ...]:
    """Return what ``read`` makes of the first ``most`` elements of a list, without what it cannot read."""
    found = (read(one) for one in (value[:most] if isinstance(value, list) else ()))
    return tuple(one for one in found if one is not None)

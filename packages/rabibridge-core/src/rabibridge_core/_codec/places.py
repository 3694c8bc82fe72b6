"""Finds the place of a value that cannot be encoded: ``args[1].lines[3]``. Used only after encoding has failed."""

from __future__ import annotations

from time import thread_time
from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.objects import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["find_unencodable"]

_LONGEST = 200
_LONGEST_NAME = 50
_SEARCH_TIME = 0.1
"""For how long to look further inside, in seconds of CPU time: each step encodes parts of the value, on the loop."""
_SHOWN_KEYS = (int, float, bool, type(None))


def find_unencodable(refusal: Callable[[object], str | None], value: object, place: str) -> tuple[str, str] | None:
    """Return the place of the innermost value that is refused, and why; ``None``: no value is refused by itself.

    Args:
        refusal: returns why a value cannot be encoded, and ``None`` if it can.
        value: the value that was refused.
        place: how the value itself is called.
    """
    error = refusal(value)
    if error is None:
        return None
    outer = place, error
    until = thread_time() + _SEARCH_TIME
    while thread_time() < until and (found := _first_refused(refusal, parts_of(value))) is not None:
        step, value = found
        error = refusal(value)
        place += step
        # What is nested without end, or refused only together with the rest, has no place of its own.
        if error is None or len(place) > _LONGEST:
            return outer
    return place, error


def _first_refused(
    refusal: Callable[[object], str | None], parts: list[tuple[Any, object]]
) -> tuple[str, object] | None:
    if not parts or refusal([part for _, part in parts]) is None:
        return None
    while len(parts) > 1:
        half = parts[: len(parts) // 2]
        parts = half if refusal([part for _, part in half]) is not None else parts[len(parts) // 2 :]
    key, value = parts[0]
    return _step(key), value


def _step(key: object) -> str:
    if isinstance(key, str) and key.isidentifier() and len(key) <= _LONGEST_NAME:
        return f".{key}"
    return f"[{key!r}]" if isinstance(key, _SHOWN_KEYS) else "[...]"

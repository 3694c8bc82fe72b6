"""Finds the argument of a call that is fed from an iterator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["UploadArgument", "find_upload", "holds_upload"]


_VALUES = frozenset({bool, bytes, dict, float, int, list, set, str, tuple, type(None)})
"""Types of most arguments, which are no iterators."""


class UploadArgument(NamedTuple):
    """An argument that is fed, and what is sent in its place.

    Attributes:
        source: the async iterable or the iterator.
        argument: which argument it is: its index as text, or its name.
        args: the positional arguments, with ``None`` in its place.
        kwargs: the keyword arguments, with ``None`` in its place.
    """

    source: Any
    argument: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def find_upload(args: Sequence[Any], kwargs: dict[str, Any]) -> UploadArgument | None:
    """Return the argument that is an async iterable or an iterator; ``None`` if none is.

    Lists, tuples, texts, dicts and sets are values, and so is everything else that is no iterator.

    Raises:
        TypeError: more than one is.
    """
    if _VALUES.issuperset(map(type, args)) and (not kwargs or _VALUES.issuperset(map(type, kwargs.values()))):
        return None
    found: list[str | int] = [index for index, value in enumerate(args) if _is_upload(value)]
    found.extend(name for name, value in kwargs.items() if _is_upload(value))
    if not found:
        return None
    if len(found) > 1:
        which = " and ".join(repr(name) if isinstance(name, str) else f"number {name + 1}" for name in found)
        raise TypeError(f"the arguments {which} are iterators, and one call can feed one: give the others as lists")
    (place,) = found
    if isinstance(place, str):
        return UploadArgument(kwargs[place], place, tuple(args), {**kwargs, place: None})
    return UploadArgument(args[place], str(place), (*args[:place], None, *args[place + 1 :]), kwargs)


def holds_upload(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether one of the arguments, or more, is what :func:`find_upload` finds."""
    return any(map(_is_upload, args)) or any(map(_is_upload, kwargs.values()))


def _is_upload(value: Any) -> bool:
    kind = type(value)
    return hasattr(kind, "__aiter__") or hasattr(kind, "__next__")

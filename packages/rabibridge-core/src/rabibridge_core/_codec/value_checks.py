"""Finds values that a format would encode but not give back: checked when they are sent, so that no reader meets them.

MessagePack and JSON encode more than they decode: map keys that the reader refuses or that become the same text, times
beyond the calendar. A sender that learns of it has lost nothing; a reader has lost a call that has run.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from msgpack import Timestamp  # type: ignore[import-untyped]  # it ships no types

from rabibridge_core._codec.objects import arrives_as_map
from rabibridge_core.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "check_any_key",
    "check_instant",
    "check_json_keys",
    "check_text_keys",
    "check_values",
    "check_view",
    "is_plain",
]

_LEAVES: frozenset[type] = frozenset({int, float, str, bytes, bool, type(None)})
_MANY = 16
_SEQUENCES = (list, tuple)


def is_plain(value: Any) -> bool:
    """Tell whether a value that was encoded needs no further check: most do not, and this takes less time.

    It consists of lists, tuples, dicts with text as keys, and values that every format gives back.
    """
    pending: list[Any] = [value]
    for item in pending:
        kind = type(item)
        if kind in _LEAVES:
            continue
        items: Collection[Any] = item
        if kind is dict:
            for key in item:
                if type(key) is not str:
                    return False
            items = item.values()
        elif kind is not list and kind is not tuple:
            return False
        if items and (len(items) <= _MANY or not _LEAVES.issuperset(map(type, items))):
            pending += items
    return True


def check_values(
    value: Any,
    plain_keys: frozenset[type],
    check_keys: Callable[[dict[Any, Any]], None],
    check_leaf: Callable[[Any], None],
) -> None:
    """Check a value that was encoded, which means that it holds no cycle.

    Args:
        value: the value.
        plain_keys: the types of keys that need no check.
        check_keys: called with each dict that has keys of other types.
        check_leaf: called with each value that is neither a container nor of a type that needs no check.

    Raises:
        SerializationError: as of the functions given.
    """
    items: Collection[Any]
    kind = type(value)
    if kind is list or kind is tuple:
        items = value
    elif kind is dict or isinstance(value, dict):
        for key in value:
            if type(key) not in plain_keys:
                check_keys(value)
                break
        items = value.values()
    elif isinstance(value, _SEQUENCES):
        items = value
    else:
        if kind not in _LEAVES:
            check_leaf(value)
        return
    if len(items) > _MANY and _LEAVES.issuperset(map(type, items)):
        return
    for item in items:
        kind = type(item)
        if kind not in _LEAVES and (kind is not dict or item):
            check_values(item, plain_keys, check_keys, check_leaf)


def check_text_keys(mapping: dict[Any, Any]) -> None:
    """Refuse keys that are neither text nor bytes.

    Raises:
        SerializationError: there is such a key.
    """
    for key in mapping:
        if not isinstance(key, str | bytes | memoryview):
            raise SerializationError(
                f"msgpack cannot encode a map key of type {type(key).__qualname__}: keys must be str or bytes, because "
                "others let a sender slow the reader down; any_map_keys (RABIBRIDGE_ANY_MAP_KEYS=1), on every side, "
                "allows all"
            )


def check_any_key(mapping: dict[Any, Any]) -> None:
    """Check the parts of keys, of which tuples may have several.

    Raises:
        SerializationError: a key would not be given back.
    """
    for key in mapping:
        if arrives_as_map(key):
            raise SerializationError(
                f"msgpack cannot encode a map key of type {type(key).__qualname__}: it arrives as a map, which cannot "
                "be a key"
            )
        check_values(key, _LEAVES, check_any_key, check_instant)


def check_json_keys(mapping: dict[Any, Any]) -> None:
    """Refuse keys that become the same text.

    Raises:
        SerializationError: there are such keys.
    """
    if len({_json_key(key) for key in mapping}) < len(mapping):
        raise SerializationError(
            "json cannot encode a dict in which two keys become the same text, such as 1 and '1': one would be lost"
        )


def _json_key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return float.__repr__(key)
    if isinstance(key, int):
        return int.__repr__(key)
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")


def check_instant(value: Any) -> None:
    """Refuse what MessagePack encodes as a time or as bytes, and nobody can decode into the same.

    Raises:
        SerializationError: the value would not be given back.
    """
    kind = type(value)
    if kind is datetime.datetime:
        if value.tzinfo is None:
            return
        try:
            value.astimezone(datetime.UTC)
        except (OverflowError, ValueError):
            raise SerializationError(
                "msgpack cannot encode a datetime whose time in UTC is before the year 1 or after the year 9999"
            ) from None
    elif kind is memoryview:
        check_view("msgpack", value)
    elif isinstance(value, Timestamp):
        _check_timestamp(value)


def check_view(name: str, view: memoryview) -> None:
    """Refuse a memoryview that would arrive as other bytes.

    Raises:
        SerializationError: its items are no bytes, or it has several dimensions.
    """
    if view.format != "B" or view.ndim != 1:
        raise SerializationError(
            f"{name} cannot encode a memoryview of format {view.format!r}: send bytes, or a list of its items"
        )


def _check_timestamp(value: Any) -> None:
    try:
        exact = not value.nanoseconds % 1000 and bool(value.to_datetime())
    except (OverflowError, ValueError):
        exact = False
    if not exact:
        raise SerializationError("msgpack cannot encode a Timestamp that no datetime in microseconds can hold")

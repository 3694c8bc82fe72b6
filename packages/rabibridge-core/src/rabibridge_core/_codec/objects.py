"""Objects that travel as plain values: members of an Enum, dataclasses and pydantic models.

Their classes are not named on the wire. The annotations of the receiver restore them.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, Final

from rabibridge_core._codec.arrays import scalar_of
from rabibridge_core._codec.tagged_values import tag

__all__ = ["arrives_as_map", "lowered", "parts_of"]

_FIELDS: Final = "__dataclass_fields__"
_PYDANTIC: Final = "__pydantic_serializer__"
_LEAVES: Final[frozenset[type]] = frozenset(
    {
        *(int, float, str, bytes, bool, complex, type(None), decimal.Decimal, uuid.UUID),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    }
)
_HIDDEN: Final = object()


def lowered(value: Any) -> Any:
    """Return what travels in place of a value that a format lacks: a plain value or a :class:`Tagged`.

    Its parts are not lowered. A value that has no other form is returned as it is.

    Raises:
        SerializationError: the value would not be given back.
        BaseException: what the properties and serializers of its class raise.
    """
    while isinstance(value, enum.Enum):
        value = value.value
    value = scalar_of(value)
    cls = type(value)
    if cls in (set, frozenset) and not _LEAVES.issuperset(map(type, value)) and any(map(arrives_as_map, value)):
        return list(value)  # members that arrive as maps cannot be in a set there
    fields = _fields_of(value)
    if fields is not None:
        return fields
    if cls in (int, float, str, bytes, bool, list, dict, tuple):
        return value
    found = tag(value)
    return value if found is None else found


def arrives_as_map(value: Any) -> bool:
    """Tell whether a value that is hashable here arrives as something that is not: as a map, or with one in it."""
    while isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, tuple | frozenset):
        return any(map(arrives_as_map, value))
    return hasattr(type(value), _PYDANTIC) or hasattr(type(value), _FIELDS)


def parts_of(value: Any) -> list[tuple[Any, object]]:
    """Return the parts of a value, each with its key, in which to look for what cannot be encoded."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, set | frozenset):
        return [(_HIDDEN, member) for member in value]
    try:
        fields = _fields_of(value)
    except Exception:  # noqa: BLE001 - the class of a user may raise anything; its value as a whole is the place then
        fields = None
    return parts_of(fields) if isinstance(fields, dict | list) else []


def _fields_of(value: Any) -> Any:
    """Return the fields of a dataclass or a model; ``None``: it is neither."""
    cls = type(value)
    serializer = getattr(cls, _PYDANTIC, None)
    if serializer is not None:
        if hasattr(cls, "model_dump"):
            return value.model_dump(by_alias=True, round_trip=True)
        return serializer.to_python(value, by_alias=True, round_trip=True)
    if not hasattr(cls, _FIELDS):
        return None
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}

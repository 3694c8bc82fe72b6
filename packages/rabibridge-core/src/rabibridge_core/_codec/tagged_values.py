"""The values that travel with a tag, because neither MessagePack nor JSON has them: a date, a Decimal, a set.

The tags are a closed set, listed here and in docs/protocol.md: what a tag means is fixed, and nothing is looked up by a
name that comes from the wire. Each tag has a payload that both formats can hold, a text or a list; how tag and payload
are written is up to the serializers. Limits hold on both sides: what a reader would refuse is refused by its sender.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from rabibridge_core._codec.arrays import array_of, array_parts, is_array
from rabibridge_core._codec.failures import MalformedValueError
from rabibridge_core.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "LISTS",
    "MAX_DIGITS",
    "MAX_EXPONENT",
    "TEXTS",
    "Tagged",
    "restored",
    "tag",
    "tag_integer",
]

MAX_DIGITS: Final = 4300
"""Longest Decimal, and longest integer of more than 64 bits in MessagePack, in digits."""

MAX_EXPONENT: Final = 9999
"""Largest exponent of a Decimal as it is written: making an integer of a larger one takes seconds."""

_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-]?[0-9]{1,4})?|Infinity|s?NaN[0-9]*)", re.ASCII)
_HEXADECIMAL = re.compile(r"-?[0-9a-f]+", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_LARGEST_INTEGER = 10**MAX_DIGITS
_LONGEST_TIME = 64
_FEW_MEMBERS = 64
_SAME_HASHES = 32
_CHUNK = 16_384
_NUMBERS = (int, float)


@dataclass(slots=True)
class Tagged:
    """A value as it travels.

    Attributes:
        name: what it is.
        payload: a text for the names in :data:`TEXTS`, a list for those in :data:`LISTS`.
    """

    name: str
    payload: Any


def tag(value: Any) -> Tagged | None:
    """Return the form in which a value travels with a tag; ``None``: values of its type have none.

    Values of subclasses travel as those of the class that they are derived from. A set is not asked for its members.

    Raises:
        SerializationError: the type has a tag, but this value would not be given back.
    """
    make = _MAKERS.get(type(value))
    if make is None:
        make = next((make for cls, make in _MAKERS.items() if isinstance(value, cls)), None)
    if make is not None:
        return make(value)
    return Tagged("ndarray", array_parts(value)) if is_array(value) else None


def restored(name: str, payload: Any) -> Any:
    """Return the value of a tag.

    Raises:
        MalformedValueError: the tag is unknown, or the payload is none that it can have.
    """
    reader: Callable[[Any], Any] | None = TEXTS.get(name) or LISTS.get(name)
    if reader is None:
        raise MalformedValueError("a value in it has a tag that this version does not know")
    if not isinstance(payload, str if name in TEXTS else (list, tuple)):
        raise MalformedValueError(f"a {name} in it is malformed")
    try:
        return reader(payload)
    except MalformedValueError:
        raise
    except Exception as error:
        raise MalformedValueError(f"a {name} in it is malformed") from error


def _as_members(cls: type[Any], members: list[Any] | tuple[Any, ...]) -> Any:
    """Return a set of these members, in which lists become tuples.

    The hashes of numbers, tuples and UUIDs can be chosen: a set of many members with one hash would take hours to make.
    """
    count = len(members)
    members = [_hashable(member) for member in members] if type(members) is list else members
    found: set[Any] = set()
    try:
        if count > _FEW_MEMBERS:
            hashes: set[int] = set()
            for start in range(0, count, _CHUNK):  # other threads may run in between
                hashes.update(map(hash, members[start : start + _CHUNK]))
            if len(hashes) < count - _SAME_HASHES:
                raise MalformedValueError("a set in it has many members with the same hash")
            del hashes
        for start in range(0, count, _CHUNK):
            found.update(members[start : start + _CHUNK])
    except TypeError as error:
        raise MalformedValueError("a set in it has a member that no set can have") from error
    if len(found) < count:
        raise MalformedValueError("a set in it has a member twice")
    return found if cls is set else cls(found)


def _hashable(member: Any) -> Any:
    return tuple(map(_hashable, member)) if type(member) is list else member


def _check_length(text: str, most: int) -> str:
    if len(text) > most:
        raise ValueError("it is too long")
    return text


def _of_datetime(value: datetime) -> Tagged:
    if getattr(value, "nanosecond", None):  # pandas has a datetime with nanoseconds
        raise SerializationError(
            f"a {type(value).__qualname__} with nanoseconds cannot be encoded: datetimes have microseconds"
        )
    try:
        # Made from its parts, a value of a subclass that is no time, as NaT of pandas, is an error.
        plain = datetime(
            value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond,
            value.tzinfo, fold=value.fold,
        )  # fmt: skip
        if plain.tzinfo is not None:
            plain = plain.astimezone(UTC)
    except (OverflowError, ValueError, TypeError) as error:
        raise SerializationError(
            f"a {type(value).__qualname__} cannot be encoded whose time in UTC is before the year 1 or after the year "
            "9999"
        ) from error
    return Tagged("datetime", plain.isoformat())


def _to_datetime(text: str) -> datetime:
    value = datetime.fromisoformat(_check_length(text, _LONGEST_TIME))
    return value if value.tzinfo is None else value.astimezone(UTC)


def _of_time(value: time) -> Tagged:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise SerializationError(
            "a time cannot be encoded whose time zone has other offsets on other days: send a datetime, or a time "
            "without time zone"
        )
    return Tagged("time", time.isoformat(value))


def _of_timedelta(value: timedelta) -> Tagged:
    return Tagged("timedelta", [value.days, value.seconds, value.microseconds])


def _to_timedelta(parts: list[Any]) -> timedelta:
    days, seconds, microseconds = _of_type(parts, int)
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


def _of_decimal(value: Decimal) -> Tagged:
    text = Decimal.__str__(value)
    if not _is_decimal(text):
        raise SerializationError(
            f"a Decimal of more than {MAX_DIGITS} digits, or with an exponent beyond {MAX_EXPONENT}, cannot be encoded"
        )
    return Tagged("decimal", text)


def _to_decimal(text: str) -> Decimal:
    if not _is_decimal(text):
        raise ValueError("it is too long, or not a Decimal")
    return Decimal(text)


def _is_decimal(text: str) -> bool:
    if len(text) > MAX_DIGITS:
        digits = text[: MAX_DIGITS + 10].partition("E")[0].lstrip("-").replace(".", "", 1)
        if len(digits) > MAX_DIGITS:
            return False
    return _DECIMAL.fullmatch(text) is not None


def tag_integer(value: int) -> Tagged:
    """Return the form in which an integer travels that a format cannot hold.

    Raises:
        SerializationError: it has more than :data:`MAX_DIGITS` digits.
    """
    if not -_LARGEST_INTEGER < value < _LARGEST_INTEGER:
        raise SerializationError(f"an integer of more than {MAX_DIGITS} digits cannot be encoded")
    return Tagged("int", format(value, "x"))


def _to_integer(text: str) -> int:
    if _HEXADECIMAL.fullmatch(_check_length(text, MAX_DIGITS)) is None:
        raise ValueError("it is not hexadecimal")
    value = int(text, 16)
    tag_integer(value)
    return value


def _to_uuid(text: str) -> UUID:
    if _UUID.fullmatch(text) is None:
        raise ValueError("it is not a UUID")
    return UUID(text)


def _of_complex(value: complex) -> Tagged:
    return Tagged("complex", [value.real, value.imag])


def _to_complex(parts: list[Any]) -> complex:
    real, imaginary = _of_type(parts, *_NUMBERS)
    return complex(real, imaginary)


def _of_type(parts: Iterable[Any], *allowed: type) -> Iterable[Any]:
    for part in parts:
        if type(part) not in allowed:
            raise TypeError("a part has a wrong type")
        yield part


_MAKERS: Final[dict[type, Callable[[Any], Tagged]]] = {
    datetime: _of_datetime,  # before date, of which it is a subclass
    date: lambda value: Tagged("date", date.isoformat(value)),
    time: _of_time,
    timedelta: _of_timedelta,
    UUID: lambda value: Tagged("uuid", UUID.__str__(value)),
    Decimal: _of_decimal,
    set: lambda value: Tagged("set", list(value)),
    frozenset: lambda value: Tagged("frozenset", list(value)),
    complex: _of_complex,
}

TEXTS: Final[dict[str, Callable[[str], Any]]] = {
    "datetime": _to_datetime,
    "date": lambda text: date.fromisoformat(_check_length(text, _LONGEST_TIME)),
    "time": lambda text: time.fromisoformat(_check_length(text, _LONGEST_TIME)),
    "uuid": _to_uuid,
    "decimal": _to_decimal,
    "int": _to_integer,
    "bytes": lambda text: base64.b64decode(text, validate=True),
}
"""What reads the payloads that are texts."""

LISTS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "timedelta": _to_timedelta,
    "complex": _to_complex,
    "set": lambda members: _as_members(set, members),
    "frozenset": lambda members: _as_members(frozenset, members),
    "ndarray": array_of,
}
"""What reads the payloads that are lists."""

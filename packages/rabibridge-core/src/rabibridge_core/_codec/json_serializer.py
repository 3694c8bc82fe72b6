"""The serializer json."""

from __future__ import annotations

import base64
import json
import json.encoder
import math
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from rabibridge_core._codec.failures import undecodable, unencodable
from rabibridge_core._codec.objects import lowered
from rabibridge_core._codec.tagged_values import Tagged, restored
from rabibridge_core._codec.value_checks import check_json_keys, check_values, check_view
from rabibridge_core.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_INTEGER_DIGITS", "JsonSerializer"]

MAX_INTEGER_DIGITS = 4300
"""Longest integer in a body of JSON, in digits; it is Python's default limit, and does not follow Python's setting."""

_MOST_LEVELS = 512
"""So deep may arrays and objects be nested: every supported Python reads them, wherever it is called."""
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')

_DIGITS_BUDGET = 1000 * MAX_INTEGER_DIGITS**2
"""Reading an integer takes time by the square of its digits: so many squares take a tenth of a second."""

# Numbers of fewer digits, with an exponent of one digit at most, are neither infinite nor slow to read.
_STRIDE = 150
_EXPONENT = re.compile(r"[0-9][eE]\+?[0-9][0-9]").search
_TWO_DIGITS = re.compile("[0-9](?=[0-9])").finditer
_TEXT_KEYS = frozenset({str})
_KEY: Final = "$rb"
"""The only key of the objects that stand for values which JSON lacks: ``{"$rb": ["date", "2024-05-17"]}``."""
_QUOTED_KEY: Final = f'"{_KEY}"'
_BEGIN: Final = f'{{"{_KEY}":['


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is larger than any float")
    return number


class _NeedsTagsError(Exception):
    """The value holds something that JSON lacks."""


def _needs_tags(value: object) -> NoReturn:
    raise _NeedsTagsError


def _accept(value: object) -> None:
    """Accept a value that was encoded: JSON has no others."""


def _has_long_number(text: str) -> bool:
    """Tell whether there are ``2 * _STRIDE`` digits in a row; there may be a few less."""
    # Such a run has two neighbours in every _STRIDE-th character.
    for pair in _TWO_DIGITS(text[::_STRIDE]):
        start = pair.start() * _STRIDE
        if text[start : start + _STRIDE].isdigit():
            return True
    return False


class JsonSerializer:
    """JSON in UTF-8, without whitespace.

    Tuples are decoded as lists, map keys as strings (a dict in which two keys become the same string is refused). What
    JSON lacks, such as bytes, dates and sets, is an object with the one key ``$rb``. NaN, the infinities and numbers
    that no float can hold are not valid JSON here: they are neither encoded nor decoded. Integers have at most 4300
    digits.
    """

    name = "json"
    content_type = "application/json"
    trusted_only = False

    def __init__(self) -> None:
        """Make the encoder and the decoder, which keep no state between calls."""
        self._encode = _make_encoder(_needs_tags)
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        self._scan: Any = self._decoder.scan_once  # type: ignore[attr-defined]  # typeshed lacks it

    def dumps(self, value: object) -> bytes:
        """Encode ``value``; see :meth:`~rabibridge_core._codec.serializers.Serializer.dumps`."""
        try:
            try:
                text = "".join(self._encode(value, 0))
                if _BEGIN in text:
                    text = _with_tags(value)
            except _NeedsTagsError:
                text = _with_tags(value)
            check_values(value, _TEXT_KEYS, check_json_keys, _accept)
            if len(text) > _STRIDE and _has_long_number(text):
                _read_with_care(text)
            body = text.encode()
            if text.count("[") + text.count("{") > _MOST_LEVELS and _is_too_deep(body):
                raise SerializationError(
                    f"json cannot encode a value of type {type(value).__qualname__}: it is nested more than "
                    f"{_MOST_LEVELS} levels deep"
                )
            return body
        except (SerializationError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise unencodable(self.name, value, error) from error

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            text = str(data, "utf-8")
            if _EXPONENT(text) or (len(text) > _STRIDE and _has_long_number(text)):
                return _read_with_care(text)
            if _QUOTED_KEY in text:
                return json.JSONDecoder(parse_constant=_refuse_constant, object_hook=_restored).decode(text)
            try:
                value, end = self._scan(text, 0)
            except StopIteration:  # whitespace, or nothing that is JSON
                value, end = None, -1
            return value if end == len(text) else self._decoder.decode(text)
        except SerializationError:
            raise
        except Exception as error:
            raise undecodable(self.name, error) from error


def _is_too_deep(body: bytes) -> bool:
    """Tell whether arrays and objects are nested more than ``_MOST_LEVELS`` deep."""
    marks = body.translate(None, _NO_MARKS).replace(b'""', b"")
    if b'"' in marks or b"\\" in body:  # there may be such marks in texts
        marks = _STRING.sub(b"", body).translate(None, _NO_MARKS)
    for _ in range(_MOST_LEVELS):
        marks = marks.replace(b"[]", b"").replace(b"{}", b"")
        if not marks:
            return False
    return True


def _make_encoder(default: Callable[[Any], Any]) -> Any:
    make_encoder = getattr(json.encoder, "c_make_encoder", None)  # an implementation of Python may lack it
    if make_encoder is None:
        slow = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=default
        )
        return lambda value, _: slow.encode(value)
    # JSONEncoder makes such an encoder for every value, and looks for cycles, which end by their depth as well.
    quote = json.encoder.encode_basestring
    return make_encoder(None, default, quote, None, ":", ",", False, False, False)


class _TagWriter:
    """Gives an encoder what stands for the values that JSON lacks, and counts the tags."""

    def __init__(self) -> None:
        self.written = 0

    def __call__(self, value: Any) -> object:
        if type(value) is not Tagged:
            if isinstance(value, memoryview):
                check_view("json", value)
            if isinstance(value, bytes | bytearray | memoryview):
                value = Tagged("bytes", base64.b64encode(value).decode())
            else:
                found = lowered(value)
                if found is value:
                    raise TypeError(f"Object of type {type(value).__qualname__} is not JSON serializable")
                if not isinstance(found, Tagged):
                    check_values(found, _TEXT_KEYS, check_json_keys, _accept)
                    return self(found) if isinstance(found, bytes) else found
                value = found
        self.written += 1
        return {_KEY: [value.name, value.payload]}


def _with_tags(value: Any) -> str:
    writer = _TagWriter()
    text = "".join(_make_encoder(writer)(value, 0))
    if text.count(_BEGIN) == writer.written:
        return text
    return "".join(_make_encoder(_TagWriter())(_escaped(value), 0))


def _escaped(value: Any) -> Any:
    """Return a value in which no dict looks like a tag."""
    if isinstance(value, dict):
        if _is_tag(value):
            return Tagged(_KEY, [_escaped(part) for part in value[_KEY]])
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    found = lowered(value)
    if isinstance(found, Tagged):
        return Tagged(found.name, _escaped(found.payload))
    return found if found is value else _escaped(found)


def _is_tag(found: dict[str, Any]) -> bool:
    if len(found) != 1 or _KEY not in found:
        return False
    form = found[_KEY]
    return isinstance(form, list | tuple) and len(form) == 2 and isinstance(form[0], str)


def _restored(found: dict[str, Any]) -> Any:
    if not _is_tag(found):
        return found
    name, payload = found[_KEY]
    return {_KEY: payload} if name == _KEY else restored(name, payload)


def _read_with_care(text: str) -> Any:
    spent = 0

    def bounded(digits: str) -> int:
        nonlocal spent
        spent += len(digits) ** 2
        if len(digits) > MAX_INTEGER_DIGITS + digits.startswith("-"):
            raise ValueError(f"an integer has more than {MAX_INTEGER_DIGITS} digits")
        if spent > _DIGITS_BUDGET:
            raise ValueError("there are too many long integers")
        return int(digits)

    decoder = json.JSONDecoder(
        parse_int=bounded,
        parse_float=_finite,
        parse_constant=_refuse_constant,
        object_hook=_restored if _QUOTED_KEY in text else None,
    )
    return decoder.decode(text)

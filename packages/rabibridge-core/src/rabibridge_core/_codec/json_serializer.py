"""The serializer json."""

from __future__ import annotations

import json
import json.encoder
import math
import re
from typing import Any, NoReturn

from rabibridge_core._codec.failures import undecodable, unencodable
from rabibridge_core._codec.value_checks import check_json_keys, check_values
from rabibridge_core.errors import SerializationError

__all__ = ["MAX_INTEGER_DIGITS", "JsonSerializer"]

MAX_INTEGER_DIGITS = 4300
"""Longest integer in a body of JSON, in digits; it is Python's default limit, and does not follow Python's setting."""

_DIGITS_BUDGET = 1000 * MAX_INTEGER_DIGITS**2
"""Reading an integer takes time by the square of its digits: so many squares take a tenth of a second."""

# Numbers of fewer digits, with an exponent of one digit at most, are neither infinite nor slow to read.
_STRIDE = 150
_EXPONENT = re.compile(r"[0-9][eE]\+?[0-9][0-9]").search
_TWO_DIGITS = re.compile("[0-9](?=[0-9])").finditer
_TEXT_KEYS = frozenset({str})


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is larger than any float")
    return number


def _unencodable_type(value: object) -> NoReturn:
    raise TypeError(f"Object of type {type(value).__qualname__} is not JSON serializable")


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

    Tuples are decoded as lists, map keys as strings (a dict in which two keys become the same string is refused); bytes
    and dates are refused. So are NaN, the infinities and numbers that no float can hold, which are not valid JSON here:
    they are neither encoded nor decoded. Integers have at most 4300 digits.
    """

    name = "json"
    content_type = "application/json"
    trusted_only = False

    def __init__(self) -> None:
        """Make the encoder and the decoder, which keep no state between calls."""
        make_encoder = getattr(json.encoder, "c_make_encoder", None)  # an implementation of Python may lack it
        if make_encoder is None:
            slow = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
            self._encode: Any = lambda value, _: slow.encode(value)
        else:
            # JSONEncoder makes such an encoder for every value, and looks for cycles, which end by their depth as well.
            quote = json.encoder.encode_basestring
            self._encode = make_encoder(None, _unencodable_type, quote, None, ":", ",", False, False, False)
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        self._scan: Any = self._decoder.scan_once  # type: ignore[attr-defined]  # typeshed lacks it

    def dumps(self, value: object) -> bytes:
        """Encode ``value``; see :meth:`~rabibridge_core._codec.serializers.Serializer.dumps`."""
        try:
            text = "".join(self._encode(value, 0))
            check_values(value, _TEXT_KEYS, check_json_keys, _accept)
            if len(text) > _STRIDE and _has_long_number(text):
                _read_with_care(text)
            return text.encode()
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
            try:
                value, end = self._scan(text, 0)
            except StopIteration:  # whitespace, or nothing that is JSON
                value, end = None, -1
            return value if end == len(text) else self._decoder.decode(text)
        except SerializationError:
            raise
        except Exception as error:
            raise undecodable(self.name, error) from error


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

    return json.JSONDecoder(parse_int=bounded, parse_float=_finite, parse_constant=_refuse_constant).decode(text)

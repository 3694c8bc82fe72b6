"""Arrays of numpy, which travel with their type, their shape and their bytes.

numpy is an extra. It is never imported to send a value, and only by the first array that arrives.
"""

from __future__ import annotations

import datetime
import importlib
import math
import re
import sys
import types
import typing
from typing import Any, Final

from rabibridge_core._codec.failures import MalformedValueError
from rabibridge_core.errors import SerializationError

__all__ = ["array_of", "array_parts", "is_array", "scalar_of", "with_arrays"]

_MAX_DIMENSIONS: Final = 32
_LARGEST_SIDE: Final = 2**40
_TYPE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f[248]|c(?:8|16)|[SU][0-9]{1,6}|[mM]8(?:\[[0-9]{0,6}[A-Za-z]{1,2}\])?)", re.ASCII
)
"""Booleans, numbers, texts, byte strings and times. Objects, which are pointers, structures, and long doubles, which
machines write differently, do not match."""
_LARGEST_CHARACTER: Final = 0x10FFFF
_SCALARS: Final = (int, float, complex, str, bytes, datetime.date, datetime.timedelta)


def is_array(value: object) -> bool:
    """Tell whether a value is an array of numpy, or of a subclass."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def scalar_of(value: Any) -> Any:
    """Return the Python number that a scalar of numpy is, such as ``numpy.int64``; anything else unchanged.

    Raises:
        SerializationError: Python has no such number.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return value
    plain = value.item()
    if not isinstance(plain, _SCALARS) or (value.dtype.kind in "mM" and isinstance(plain, int)):
        raise SerializationError(
            f"a {type(value).__name__} of numpy cannot be encoded, as Python has no such value: send an array of it"
        )
    return plain


def array_parts(array: Any) -> list[Any]:
    """Return type, shape and bytes of an array, in C order.

    Raises:
        SerializationError: it is of a subclass, whose own data would be lost, or of objects or structures.
    """
    if type(array) is not sys.modules["numpy"].ndarray:
        raise SerializationError(
            f"a {type(array).__qualname__} cannot be encoded: send numpy.asarray() of it, and what it holds beyond "
            "that separately"
        )
    kind, shape = array.dtype.str, list(array.shape)
    if array.dtype.names is not None or not _is_allowed(kind, array.dtype.itemsize, shape):
        raise SerializationError(
            f"an array of type {str(array.dtype)[:50]!r} cannot be encoded: only arrays of numbers, booleans, texts, "
            "byte strings and times can"
        )
    return [kind, shape, array.tobytes()]


def array_of(parts: list[Any]) -> Any:
    """Return the array that has these parts; it has its own memory and can be written to.

    Raises:
        MalformedValueError: they do not fit together, or numpy is not installed.
    """
    kind, shape, data = parts
    if not isinstance(kind, str) or not isinstance(data, bytes) or not isinstance(shape, list | tuple):
        raise TypeError("a part has a wrong type")
    try:
        numpy: Any = importlib.import_module("numpy")
    except ImportError as error:
        raise MalformedValueError(
            "an array in it needs numpy, which is not installed here: pip install 'rabibridge-core[numpy]'"
        ) from error
    if _TYPE.fullmatch(kind) is None:
        raise ValueError("it has no type that is allowed")
    dtype = numpy.dtype(kind)
    if dtype.str != kind or not _is_allowed(kind, dtype.itemsize, shape):
        raise ValueError("it has no type or shape that is allowed")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("type, shape and bytes do not fit")
    if not data:
        return numpy.empty(shape, dtype)
    if dtype.kind == "U" and numpy.frombuffer(data, kind[0] + "u4").max() > _LARGEST_CHARACTER:
        raise ValueError("a character is none")
    if dtype.kind == "b" and numpy.frombuffer(data, "u1").max() > 1:
        raise ValueError("a boolean is none")
    return numpy.frombuffer(data, dtype).reshape(shape).copy()


def with_arrays(annotation: Any) -> Any:
    """Return an annotation in which pydantic, which does not know arrays of numpy, checks that they are some."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return annotation
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    # From numpy 2.5 on, NDArray[...] is a TypeAliasType, which stands for its __value__.
    stands_for = typing.get_origin(getattr(origin, "__value__", None))
    if annotation is numpy.ndarray or numpy.ndarray in (origin, stands_for):
        return importlib.import_module("pydantic").InstanceOf[numpy.ndarray]
    if origin is None or origin is typing.Literal:
        return annotation
    if origin is typing.Annotated:
        inner = with_arrays(parts[0])
        return annotation if inner is parts[0] else typing.Annotated[(inner, *annotation.__metadata__)]
    found = tuple(with_arrays(part) for part in parts)
    if all(one is other for one, other in zip(found, parts, strict=True)):
        return annotation
    return typing.Union[found] if origin is types.UnionType else origin[found]  # noqa: UP007 - they are known only now


def _is_allowed(kind: str, itemsize: int, shape: Any) -> bool:
    sides = all(type(side) is int and 0 <= side <= _LARGEST_SIDE for side in shape)
    return _TYPE.fullmatch(kind) is not None and itemsize > 0 and len(shape) <= _MAX_DIMENSIONS and sides

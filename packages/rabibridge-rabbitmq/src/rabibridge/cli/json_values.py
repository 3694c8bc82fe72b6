"""Values as JSON, on the command line and on standard output.

The form is that of the serializer ``json``: what JSON lacks is an object with the one key ``$rb``, such as
``{"$rb": ["date", "2024-05-17"]}``, and is read back as it was printed. The command adds three tags of its own, because
other serializers carry more than JSON: ``float`` for NaN and the infinities, ``dict`` for maps whose keys are not all
text, and ``repr`` for objects that only their Python class could hold, which cannot be read back.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from rabibridge_core._codec.failures import MalformedValueError
from rabibridge_core._codec.objects import lowered
from rabibridge_core._codec.tagged_values import Tagged, restored
from rabibridge_core._reporting.error_text import repr_of

__all__ = ["from_json", "to_json"]

_KEY = "$rb"
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> Any:
    """Return what stands for a value in JSON: only None, bool, int, finite floats, texts, lists and dicts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return _tagged("float", str(float(value)))
    if type(value) in (int, float, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _tagged("bytes", base64.b64encode(value).decode())
    if isinstance(value, dict):
        return _dict(value)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    found = lowered(value)
    if isinstance(found, Tagged):
        return _tagged(found.name, to_json(found.payload))
    return _tagged("repr", repr_of(value)) if found is value else to_json(found)


def from_json(text: str) -> Any:
    """Return the value of strict JSON, in which objects with the key ``$rb`` stand for what JSON lacks.

    Raises:
        ValueError: it is not JSON, or such an object is malformed.
    """
    return json.loads(text, object_hook=_restored, parse_constant=_refuse)


def _dict(value: dict[Any, Any]) -> Any:
    if not all(isinstance(key, str) for key in value):
        return _tagged("dict", [[to_json(key), to_json(item)] for key, item in value.items()])
    if _is_tag(value):  # it only looks like one
        return _tagged(_KEY, to_json(value[_KEY]))
    return {str(key): to_json(item) for key, item in value.items()}


def _tagged(name: str, payload: Any) -> dict[str, Any]:
    return {_KEY: [name, payload]}


def _is_tag(found: dict[str, Any]) -> bool:
    form = found.get(_KEY) if len(found) == 1 else None
    return isinstance(form, list | tuple) and len(form) == 2 and isinstance(form[0], str)


def _restored(found: dict[str, Any]) -> Any:
    if not _is_tag(found):
        return found
    name, payload = found[_KEY]
    if name == _KEY:
        return {_KEY: payload}
    try:
        if name == "float":
            return _FLOATS[payload]
        if name == "dict":
            return {_hashable(key): item for key, item in payload}
        return restored(name, payload)
    except (MalformedValueError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{json.dumps(found)[:80]} is no value: {{"$rb": [...]}} stands for what JSON lacks'
        ) from error


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")

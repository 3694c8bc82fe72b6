"""Values of calls as JSON that people read and compare, without loss.

What JSON lacks is written as RabiBridge's serializer ``json`` does, ``{"$rb": ["date", "2024-05-17"]}``. Two forms come
on top of it: ``{"$map": [[1, "one"]]}``, a map whose keys are not all texts, and ``{"$float": "nan"}``.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from rabibridge_core._codec.json_serializer import JsonSerializer

__all__ = ["MAP", "UPLOAD", "Fed", "canonical", "from_json", "pretty", "to_json"]

_JSON: Final = JsonSerializer()
MAP: Final = "$map"
"""``{"$map": [...]}`` holds the pairs of a map whose keys are not all texts."""
_FLOAT = "$float"
_OWN: Final = (MAP, _FLOAT, "$upload")
UPLOAD: Final = "$upload"
"""In arguments, ``{"$upload": [...]}``: one that was fed with these items."""
_WIDTH: Final = 100


class Fed(list[Any]):
    """The items of an argument that was fed."""


def to_json(value: Any) -> Any:
    """Return what stands for a value in a file.

    Raises:
        SerializationError: nothing does.
    """
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not (len(value) == 1 and next(iter(value)) in _OWN):
            if len(value) == 1 and "$rb" in value:
                return json.loads(_JSON.dumps(value))
            return {key: to_json(item) for key, item in value.items()}
        return {MAP: [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, Fed):
        return {UPLOAD: to_json(list(value))}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    return json.loads(_JSON.dumps(value))


def from_json(found: Any) -> Any:
    """Return the value that stands in a file.

    Raises:
        SerializationError: none does.
    """
    if isinstance(found, list):
        return [from_json(item) for item in found]
    if not isinstance(found, dict):
        return found
    if found.keys() == {MAP}:
        return {from_json(key): from_json(item) for key, item in found[MAP]}
    if found.keys() == {_FLOAT}:
        return float(found[_FLOAT])
    if found.keys() == {"$rb"}:
        return _JSON.loads(json.dumps(found).encode())
    return {key: from_json(item) for key, item in found.items()}


def canonical(found: Any) -> str:
    """Return a text that is the same for equal values in a file."""
    return json.dumps(found, sort_keys=True, ensure_ascii=False)


def pretty(found: Any, indent: int = 0, used: int = 0) -> str:
    """Return JSON in which what fits is on one line, and what does not has a line for each part.

    Args:
        found: what stands in a file.
        indent: how far its lines are indented.
        used: how many more characters are on its first line.
    """
    line = json.dumps(found, ensure_ascii=False)
    if indent + used + len(line) <= _WIDTH or not isinstance(found, dict | list) or not found:
        return line
    inner = " " * (indent + 2)
    if isinstance(found, dict):
        names = [json.dumps(key, ensure_ascii=False) + ": " for key in found]
        parts = [name + pretty(item, indent + 2, len(name)) for name, item in zip(names, found.values(), strict=True)]
    else:
        parts = [pretty(item, indent + 2) for item in found]
    opening, closing = "{}" if isinstance(found, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}{closing}"

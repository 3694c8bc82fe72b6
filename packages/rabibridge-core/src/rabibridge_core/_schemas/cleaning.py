"""Lets through what is valid of a JSON schema, as draft 7, which OpenRPC and AsyncAPI want.

Schemas come from pydantic, with additions of users, and from workers and files. Keywords that are not known, or whose
values have the wrong type, are left out: whatever reads the result need not check it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rabibridge_core._reporting.error_text import printable

__all__ = ["clean_schema", "map_schemas", "references"]

_DEPTH_MAX: Final = 40
_TEXT_MAX: Final = 4000
_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")
_INNER: Final = ("additionalItems", "additionalProperties", "contains", "not", "propertyNames", "if", "then", "else")
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_MAPS: Final = ("properties", "patternProperties")
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_TEXTS: Final = (
    *("title", "description", "format", "contentEncoding", "contentMediaType", "pattern", "x-python-type"),
)
_FLAGS: Final = ("uniqueItems", "readOnly", "writeOnly")
_POINTER: Final = "#/$defs/"


def clean_schema(schema: object, depth: int = 0) -> dict[str, Any]:
    """Return what is valid of a schema, without its definitions; empty if nothing is: any value."""
    if schema is False:
        return {"not": {}}
    if not isinstance(schema, Mapping) or depth > _DEPTH_MAX:
        return {}
    found = {name: value for name, value in schema.items() if isinstance(name, str) and _is_plain(name, value)}
    for name in _TEXTS:
        if name in found:
            found[name] = printable(found[name][:_TEXT_MAX], lines=True)
    for name in _INNER:
        if isinstance(value := schema.get(name), bool):
            found[name] = value
        elif isinstance(value, Mapping):
            found[name] = clean_schema(value, depth + 1)
    for name in _LISTS:
        if isinstance(value := schema.get(name), list) and value:
            found[name] = [clean_schema(each, depth + 1) for each in value]
    for name in _MAPS:
        if isinstance(value := schema.get(name), Mapping):
            found[name] = {key: clean_schema(each, depth + 1) for key, each in value.items() if _is_key(key)}
    _add_items(schema, found, depth)
    return _with_reference(schema, found)


def _add_items(schema: Mapping[Any, Any], found: dict[str, Any], depth: int) -> None:
    """Add the items of an array: draft 7 calls those that have places of their own ``items``, too."""
    places = schema.get("prefixItems", schema.get("items"))
    if isinstance(places, list) and places:
        found["items"] = [clean_schema(each, depth + 1) for each in places]
        if "prefixItems" in schema and isinstance(rest := schema.get("items"), Mapping | bool):
            found["additionalItems"] = rest if isinstance(rest, bool) else clean_schema(rest, depth + 1)
    elif isinstance(places, Mapping):
        found["items"] = clean_schema(places, depth + 1)


def _with_reference(schema: Mapping[Any, Any], found: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith(_POINTER):
        return found
    if not found:
        return {"$ref": reference}
    # Draft 7 ignores what stands beside a reference.
    return {**found, "allOf": [{"$ref": reference}, *found.get("allOf", [])]}


def map_schemas(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return a clean schema in which every part has been changed, the innermost first."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for name in (*_INNER, "items"):
        if isinstance(value := found.get(name), dict):
            found[name] = map_schemas(value, change)
        elif isinstance(value, list):
            found[name] = [map_schemas(each, change) for each in value]
    for name in _LISTS:
        if name in found:
            found[name] = [map_schemas(each, change) for each in found[name]]
    for name in _MAPS:
        if name in found:
            found[name] = {key: map_schemas(each, change) for key, each in found[name].items()}
    return change(found)


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a clean schema refers to."""
    names: list[str] = []

    def note(part: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in part:
            names.append(part["$ref"].removeprefix(_POINTER))
        return part

    map_schemas(schema, note)
    yield from names


def _is_plain(name: str, value: object) -> bool:
    """Tell whether a keyword that holds no schemas has a value that it may have."""
    if name == "type":
        return value in _TYPES if isinstance(value, str) else _is_list_of(value, lambda each: each in _TYPES)
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _FLAGS:
        return isinstance(value, bool)
    if name in _COUNTS:
        return type(value) is int and value >= 0
    if name in _NUMBERS:
        return type(value) in (int, float) and _is_json(value)
    if name == "multipleOf":
        return isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and _is_json(value)
    if name == "required":
        return isinstance(value, list) and all(isinstance(each, str) for each in value) and len({*value}) == len(value)
    if name == "enum":
        return _is_list_of(value, _is_json) and _are_different(value)
    if name == "x-enum-varnames":
        return _is_list_of(value, lambda each: isinstance(each, str))
    return name in ("const", "default") and _is_json(value)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and key.isprintable()


def _is_list_of(value: object, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(is_right(each) for each in value)


def _are_different(values: Any) -> bool:
    return len({json.dumps(each, sort_keys=True) for each in values}) == len(values)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True

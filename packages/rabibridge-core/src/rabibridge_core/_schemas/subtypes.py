"""Tells whether every value that one JSON schema allows is allowed by another one.

What cannot be decided counts as a difference: a change that is not understood is reported, and none is passed over.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Subtypes"]

_POINTER = "#/$defs/"
_ABOUT = frozenset({"title", "description", "default", "x-enum-varnames", "readOnly", "writeOnly", "examples"})
"""Keywords that allow and forbid nothing."""
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_HANDLED = frozenset(
    {
        *("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "items", "additionalItems", "properties"),
        *("required", "additionalProperties", *_LOWER, *_UPPER),
    }
)
_DEPTH_MAX = 60


class Subtypes:
    """Compares the schemas of two documents."""

    def __init__(self, narrow: Mapping[str, Any], wide: Mapping[str, Any]) -> None:
        """Prepare.

        Args:
            narrow: the definitions of the schemas whose values are to be allowed.
            wide: those of the schemas that are to allow them.
        """
        self._narrow = narrow
        self._wide = wide
        self._assumed: set[tuple[str, str]] = set()

    def misfit(self, narrow: Mapping[str, Any], wide: Mapping[str, Any], depth: int = 0) -> str:
        """Return what is not allowed, in a few words, with its place; empty: everything is."""
        narrow, wide = _resolved(narrow, self._narrow), _resolved(wide, self._wide)
        if not _said(wide):
            return ""
        if depth > _DEPTH_MAX:
            return ": too deep to be compared"
        pair = json.dumps(narrow, sort_keys=True), json.dumps(wide, sort_keys=True)
        if pair in self._assumed:
            return ""  # a recursive schema: it fits if all the rest does
        self._assumed.add(pair)
        found = self._misfit(narrow, wide, depth)
        if found:
            self._assumed.discard(pair)
        return found

    def _misfit(self, narrow: Mapping[str, Any], wide: Mapping[str, Any], depth: int) -> str:
        if alternatives := _alternatives(narrow):
            return next((found for each in alternatives if (found := self.misfit(each, wide, depth + 1))), "")
        if alternatives := _alternatives(wide):
            misfits = [self.misfit(narrow, each, depth + 1) for each in alternatives]
            inner = [each for each in misfits if each.startswith((".", "["))]
            return "" if "" in misfits else min(inner, default=f": {_name(narrow)}")
        if not _said(narrow):
            return ": any value"
        return (
            self._types(narrow, wide)
            or self._values(narrow, wide)
            or self._bounds(narrow, wide)
            or self._other(narrow, wide)
            or self._array(narrow, wide, depth)
            or self._object(narrow, wide, depth)
        )

    def _types(self, narrow: Mapping[str, Any], wide: Mapping[str, Any]) -> str:
        if "type" not in wide or "enum" in narrow or "const" in narrow:
            return ""
        wide_type, narrow_type = wide["type"], narrow.get("type")
        if narrow_type == wide_type or (narrow_type == "integer" and wide_type == "number"):
            return ""
        return f": {_name(narrow)}"

    def _values(self, narrow: Mapping[str, Any], wide: Mapping[str, Any]) -> str:
        wanted, given = _enumerated(wide), _enumerated(narrow)
        if wanted is None:
            if given is None or "type" not in wide:
                return ""
            wrong = [each for each in given if not _is_of_type(each, wide["type"])]
        elif given is None:
            return f": {_name(narrow)}"
        else:
            allowed = [json.dumps(each, sort_keys=True) for each in wanted]
            wrong = [each for each in given if json.dumps(each, sort_keys=True) not in allowed]
        return f": {', '.join(json.dumps(each) for each in wrong[:3])}" if wrong else ""

    def _bounds(self, narrow: Mapping[str, Any], wide: Mapping[str, Any]) -> str:
        if _enumerated(narrow) is not None:
            return ""
        for keywords, sign in ((_LOWER, 1), (_UPPER, -1)):
            for keyword in keywords:
                if keyword in wide and (keyword not in narrow or sign * narrow[keyword] < sign * wide[keyword]):
                    return f": values beyond {keyword} {wide[keyword]:g}"
        return ""

    def _other(self, narrow: Mapping[str, Any], wide: Mapping[str, Any]) -> str:
        """Compare what this class does not understand: it must be the same."""
        if "pattern" in wide and _enumerated(narrow) is not None:
            return ""
        for keyword in sorted(wide.keys() - _HANDLED - _ABOUT):
            if narrow.get(keyword) != wide[keyword]:
                return f": {_name(narrow)}" if keyword in ("format", "x-python-type") else f": other {keyword}"
        if narrow.get("format") and "format" not in wide:
            return f": {_name(narrow)}"  # a date is another type than text
        return ""

    def _array(self, narrow: Mapping[str, Any], wide: Mapping[str, Any], depth: int) -> str:
        if "array" not in (narrow.get("type"), wide.get("type")):
            return ""
        ours, theirs = narrow.get("items", {}), wide.get("items", {})
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found = self.misfit(ours, theirs, depth + 1)
            return f"[]{found}" if found else ""
        if isinstance(ours, list):
            others = theirs if isinstance(theirs, list) else [theirs] * len(ours)
            if len(ours) > len(others) and wide.get("additionalItems", True) is not True:
                return ": more items"
            for index, (one, other) in enumerate(zip(ours, others, strict=False)):
                if found := self.misfit(one, other, depth + 1):
                    return f"[{index}]{found}"
            return ""
        return f": {_name(narrow)}"

    def _object(self, narrow: Mapping[str, Any], wide: Mapping[str, Any], depth: int) -> str:
        if "object" not in (narrow.get("type"), wide.get("type")):
            return ""
        ours, theirs = narrow.get("properties", {}), wide.get("properties", {})
        for name in sorted({*wide.get("required", ())} - {*narrow.get("required", ())}):
            return f".{name}: its absence"
        rest = wide.get("additionalProperties", True)
        own_rest = narrow.get("additionalProperties", True)
        for name in ours:
            other = theirs.get(name, rest)
            if other is False:
                return f".{name}: it"
            if isinstance(other, dict) and (found := self.misfit(ours[name], other, depth + 1)):
                return f".{name}{found}"
        if isinstance(rest, dict) and isinstance(own_rest, dict):
            found = self.misfit(own_rest, rest, depth + 1)
            return f".*{found}" if found else ""
        if (isinstance(rest, dict) and own_rest is True and not ours) or (rest is False and own_rest is not False):
            return "" if theirs else ": other keys"
        return ""


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEPTH_MAX):
        reference = schema.get("$ref")
        if reference is None and len(parts := schema.get("allOf", ())) == 1:
            reference = parts[0].get("$ref")
        if reference is None:
            return schema
        schema = definitions.get(reference.removeprefix(_POINTER), {})
    return {}


def _alternatives(schema: Mapping[str, Any]) -> list[Any]:
    found = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if found:
        return found
    kinds = schema.get("type")
    return [{**schema, "type": each} for each in kinds] if isinstance(kinds, list) and "enum" not in schema else []


def _enumerated(schema: Mapping[str, Any]) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _said(schema: Mapping[str, Any]) -> bool:
    return bool(schema.keys() - _ABOUT)


def _is_of_type(value: Any, kind: object) -> bool:
    python: dict[object, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    if isinstance(value, bool) and kind != "boolean":
        return False
    return value is None if kind == "null" else isinstance(value, python.get(kind, object))


def _name(schema: Mapping[str, Any]) -> str:
    values = _enumerated(schema)
    if values is not None:
        return ", ".join(json.dumps(each) for each in values[:3])
    return str(schema.get("x-python-type") or schema.get("format") or schema.get("type") or "any value")

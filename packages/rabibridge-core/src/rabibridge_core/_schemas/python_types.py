"""Turns JSON schemas into annotations, defaults and literals of Python, as text.

Nothing of a schema becomes text of the module as it is: names go through :class:`Names`, and values through ``repr`` of
plain ones.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core._schemas.python_names import Names

__all__ = ["PythonTypes", "literal"]

_POINTER = "#/$defs/"
_IMPORTED = {
    "Decimal": ("decimal", "Decimal"),
    "date-time": ("datetime", "datetime"),
    "date": ("datetime", "date"),
    "time": ("datetime", "time"),
    "duration": ("datetime", "timedelta"),
    "uuid": ("uuid", "UUID"),
}
_BUILTIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
_DEPTH_MAX = 20
_LITERALS_MAX = 100
_PARTS_MAX = 100_000
"""Parts of schemas that one module is made of: definitions may refer to each other so often that there is no end."""
_CONSTRUCTORS: tuple[tuple[tuple[str, str], Callable[[str], object], str], ...] = (
    (("decimal", "Decimal"), decimal.Decimal, ""),
    (("datetime", "datetime"), datetime.datetime.fromisoformat, ".fromisoformat"),
    (("datetime", "date"), datetime.date.fromisoformat, ".fromisoformat"),
    (("datetime", "time"), datetime.time.fromisoformat, ".fromisoformat"),
    (("uuid", "UUID"), uuid.UUID, ""),
)


class PythonTypes:
    """The annotations of one module."""

    def __init__(self, names: Names, definitions: Mapping[str, dict[str, Any]], classes: Mapping[str, str]) -> None:
        """Prepare.

        Args:
            names: the names of the module.
            definitions: what schemas refer to.
            classes: the names of the classes of those definitions that are classes; others are written in place.
        """
        self.names = names
        self.classes = classes
        self._definitions = definitions
        self._open: set[str] = set()
        self._left = _PARTS_MAX

    def annotation(self, schema: Mapping[str, Any]) -> str:
        """Return the annotation of values of a schema; ``Any`` if it says nothing."""
        return " | ".join(self.members(schema))

    def members(self, schema: Mapping[str, Any]) -> list[str]:
        """Return the annotations of which the annotation of a schema is the union."""
        found = self._members(schema, 0)
        return [self.any()] if self.any() in found else list(dict.fromkeys(found))

    def _members(self, schema: Mapping[str, Any], depth: int) -> list[str]:
        self._left -= 1
        if depth > _DEPTH_MAX or self._left < 0:
            return [self.any()]
        reference = schema.get("$ref")
        if reference is None and len(parts := schema.get("allOf", ())) == 1:
            reference = parts[0].get("$ref")
        if reference is not None:
            return self._of_reference(reference, depth)
        for name in ("anyOf", "oneOf"):
            if name in schema and "x-python-type" not in schema:
                return [each for part in schema[name] for each in self._members(part, depth + 1)]
        if isinstance(schema.get("type"), list) and "enum" not in schema:
            return [each for kind in schema["type"] for each in self._members({**schema, "type": kind}, depth + 1)]
        return [self._of_value(schema, depth)]

    def _inner(self, schema: Mapping[str, Any], depth: int) -> str:
        found = self._members(schema, depth + 1)
        return self.any() if self.any() in found else " | ".join(dict.fromkeys(found))

    def any(self) -> str:
        """Return how the module refers to ``Any``."""
        return self.names.imported("typing", "Any")

    def default(self, schema: Mapping[str, Any]) -> str | None:
        """Return the default of a field as an expression; ``None``: there is none that can be written."""
        if "default" not in schema:
            return None
        value, members = schema["default"], self.members(schema)
        if value is None:
            return "None" if "None" in members or members == [self.any()] else None
        fitting = {bool: ["bool"], int: ["int", "float"], float: ["float"], str: ["str"]}.get(type(value), [])
        if any(self.names.builtin(name) in members for name in fitting):
            return literal(value)
        if type(value) in (str, int, bool) and value in self._enumerated(schema):
            return literal(value)
        return self._constructed(value, members)

    def empty(self, schema: Mapping[str, Any]) -> str | None:
        """Return what makes the default of a field that is an empty list or the like; ``None``: it is no such thing."""
        value = schema.get("default")
        if not (isinstance(value, list | dict) and not value):
            return None
        for name in ("list", "dict", "set", "frozenset", "tuple"):
            own = self.names.builtin(name)
            for each in self.members(schema):
                if each.startswith(f"{own}["):
                    inner = each[len(own) + 1 : -1]
                    # Strict checkers want to know of what. In quotes, as a class may hold objects of itself.
                    return f'{own}["{inner}"]' if not {'"', "'", ","} & {*inner} else own
        return None

    def _enumerated(self, schema: Mapping[str, Any]) -> list[Any]:
        found = schema.get("enum", [schema["const"]] if "const" in schema else [])
        return list(found) if all(type(each) in (str, int, bool, type(None)) for each in found) else []

    def _constructed(self, value: Any, members: list[str]) -> str | None:
        """Return a call that makes the value of a type that JSON has not, if the text is one of it."""
        if not isinstance(value, str):
            return None
        for (module, name), make, call in _CONSTRUCTORS:
            own = self.names.known(module, name)
            if own is None or own not in members:
                continue
            try:
                make(value)
            except (ValueError, ArithmeticError):
                continue
            return f"{own}{call}({literal(value)})"
        return None

    def _of_reference(self, reference: str, depth: int) -> list[str]:
        name = reference.removeprefix(_POINTER)
        if name in self.classes:
            return [self.classes[name]]
        found = self._definitions.get(name)
        if found is None or name in self._open:
            return [self.any()]
        self._open.add(name)
        members = self._members(found, depth + 1)
        self._open.discard(name)
        return members

    def _of_value(self, schema: Mapping[str, Any], depth: int) -> str:
        hint, form, kind = schema.get("x-python-type"), schema.get("format"), schema.get("type")
        named = "Decimal" if hint == "Decimal" else str(form) if kind == "string" else ""
        if named in _IMPORTED:
            return self.names.imported(*_IMPORTED[named])
        if hint == "complex":
            return self.names.builtin("complex")
        if "const" in schema or "enum" in schema:
            return self._literals([schema["const"]] if "const" in schema else schema["enum"])
        if kind == "string" and form in ("binary", "base64url"):
            return self.names.builtin("bytes")
        if kind == "null":
            return "None"
        if kind == "array":
            return self._array(schema, hint, depth)
        if kind == "object":
            values = schema.get("additionalProperties")
            inner = self._inner(values, depth) if isinstance(values, dict) else self.any()
            return f"{self.names.builtin('dict')}[{self.names.builtin('str')}, {inner}]"
        return self.names.builtin(_BUILTIN[kind]) if kind in _BUILTIN else self.any()

    def _array(self, schema: Mapping[str, Any], hint: object, depth: int) -> str:
        items = schema.get("items", {})
        if isinstance(items, list):
            exact = schema.get("minItems") == schema.get("maxItems") == len(items)
            parts = [self._inner(each, depth) for each in items]
            tuple_of = self.names.builtin("tuple")
            return f"{tuple_of}[{', '.join(parts)}]" if exact else f"{tuple_of}[{self._union(parts)}, ...]"
        inner = self._inner(items, depth)
        if hint == "tuple":
            empty = schema.get("maxItems") == 0
            return f"{self.names.builtin('tuple')}[{'()' if empty else f'{inner}, ...'}]"
        return f"{self.names.builtin(str(hint) if hint in ('set', 'frozenset') else 'list')}[{inner}]"

    def _literals(self, values: list[Any]) -> str:
        plain = all(value is None or type(value) in (str, int, bool) for value in values)
        if not plain or len(values) > _LITERALS_MAX:
            kinds = {type(value) for value in values}
            return self.names.builtin("float") if kinds <= {int, float} else self.any()
        if values == [None]:
            return "None"
        return f"{self.names.imported('typing', 'Literal')}[{', '.join(map(literal, values))}]"

    def _union(self, parts: list[str]) -> str:
        return self.any() if self.any() in parts else " | ".join(dict.fromkeys(parts))


def literal(value: str | float | None) -> str:
    """Return a plain value as an expression of Python: quotes and all that is not ASCII are escaped."""
    if isinstance(value, float) and not math.isfinite(value):
        return "None"
    if isinstance(value, str) and not {"'", '"'} & {*value}:
        return f'"{ascii(value)[1:-1]}"'
    return ascii(value)

"""Writes the classes of a generated module: of values, of enumerations, and of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._schemas.python_names import class_name, identifier, is_usable
from rabibridge_core._schemas.python_text import docstring
from rabibridge_core._schemas.python_types import literal
from rabibridge_core.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rabibridge_core._schemas.python_types import PythonTypes
    from rabibridge_core._schemas.services import DescribedError

__all__ = ["can_be_error", "enum_lines", "error_lines", "inner_names", "is_class", "is_enum", "value_lines"]


def is_enum(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema becomes an ``Enum``: the names of its members are known."""
    names, values = schema.get("x-enum-varnames", []), schema.get("enum", [])
    return bool(names) and len(names) == len(values) and all(type(each) in (str, int) for each in values)


def is_class(schema: Mapping[str, Any]) -> bool:
    """Tell whether a definition becomes a class."""
    return is_enum(schema) or (schema.get("type") == "object" and bool(schema.get("properties")))


def inner_names(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that a definition gives to things in its class."""
    yield from (name for name in schema.get("properties", {}) if is_usable(name))
    if is_enum(schema):
        yield from _member_names(schema)


def enum_lines(name: str, schema: Mapping[str, Any], types: PythonTypes) -> list[str]:
    """Return an ``Enum``."""
    lines = [f"class {name}({types.names.imported('enum', 'Enum')}):", *_about(name, schema)]
    return lines + [
        f"    {member} = {literal(value)}" for member, value in zip(_member_names(schema), schema["enum"], strict=True)
    ]


def member_of(name: str, schema: Mapping[str, Any], value: object) -> str | None:
    """Return the expression of the member with a value; ``None``: there is none."""
    for member, each in zip(_member_names(schema), schema["enum"], strict=True):
        if each == value and type(each) is type(value):
            return f"{name}.{member}"
    return None


def _member_names(schema: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name in schema["x-enum-varnames"]:
        plain = identifier(name)
        if plain.startswith("_") or plain in ("name", "value"):
            plain = f"m{plain}" if plain.startswith("_") else f"{plain}_"  # names that Enum keeps for itself
        while plain in found:
            plain += "_"
        found.append(plain)
    return found


def value_lines(
    name: str, schema: Mapping[str, Any], types: PythonTypes, enums: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return a dataclass, or a ``TypedDict`` where a dataclass could not hold what the service takes.

    That is where a key is no identifier, and where a field may be left out and its default is not known.
    """
    required = schema.get("required", [])
    fields: dict[str, tuple[str, str]] = {}
    for key, each in schema["properties"].items():
        default = "" if key in required else _default(each, types, enums)
        if not is_usable(key) or default is None:
            return _typed_dict(name, schema, types)
        fields[key] = types.annotation(each), default
    if schema.get("x-python-type") == "TypedDict":
        return _typed_dict(name, schema, types)
    optional = [bool(default) for _, default in fields.values()]
    dataclass = types.names.imported("dataclasses", "dataclass")
    lines = [f"@{dataclass}" if sorted(optional) == optional else f"@{dataclass}(kw_only=True)"]
    lines += [f"class {name}:", *_about(name, schema)]
    return lines + [
        f"    {key}: {annotation}" + (f" = {default}" if default else "")
        for key, (annotation, default) in fields.items()
    ]


def _default(schema: Mapping[str, Any], types: PythonTypes, enums: Mapping[str, Mapping[str, Any]]) -> str | None:
    factory = types.empty(schema)
    if factory is not None:
        return f"{types.names.imported('dataclasses', 'field')}(default_factory={factory})"
    for each in types.members(schema):
        if each in enums and "default" in schema and (found := member_of(each, enums[each], schema["default"])):
            return found
    return types.default(schema)


def _typed_dict(name: str, schema: Mapping[str, Any], types: PythonTypes) -> list[str]:
    names, required, lines = types.names, schema.get("required", []), []
    typed_dict = names.imported("typing_extensions", "TypedDict")
    functional = not all(is_usable(key) for key in schema["properties"])
    for key, each in schema["properties"].items():
        annotation = types.annotation(each)
        if key not in required:
            annotation = f"{names.imported('typing_extensions', 'NotRequired')}[{annotation}]"
        lines.append(f"    {key!a}: {annotation!a}," if functional else f"    {key}: {annotation}")
    if functional:
        return [f"{name} = {typed_dict}({name!a}, {{", *lines, "})"]
    return [f"class {name}({typed_dict}):", *_about(name, schema), *lines]


def can_be_error(error: DescribedError) -> bool:
    """Tell whether a class can have the fields of an error."""
    return all(is_usable(key) and not hasattr(ServiceError, key) for key in error.schema.get("properties", {}))


def error_class_name(error: DescribedError) -> str:
    """Return a name for the class of an error."""
    return class_name(str(error.schema.get("title") or error.code))


def error_lines(name: str, error: DescribedError, types: PythonTypes) -> list[str]:
    """Return the class of an error."""
    lines = [f"class {name}({types.names.imported('rabibridge_core', 'ServiceError')}, code={literal(error.code)}):"]
    lines += docstring(error.schema.get("description") or "An error that a service raises on purpose.", "    ")
    lines += [""]
    fields = error.schema.get("properties", {})
    return lines + [f"    {key}: {types.annotation(each)}" for key, each in fields.items()]


def _about(name: str, schema: Mapping[str, Any]) -> list[str]:
    text = schema.get("description")
    return [*docstring(text, "    "), ""] if text else []

"""Gives a class one definition where pydantic makes two that mean the same: one for arguments, one for results.

Pydantic joins such pairs itself, but not those that refer to each other.
"""

from __future__ import annotations

from typing import Any

__all__ = ["with_modes_joined"]

_POINTER = "#/$defs/"
_SUFFIXES = ("-Input", "-Output")


def with_modes_joined(schemas: dict[Any, dict[str, Any]], definitions: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return schemas and their definitions, in which ``X-Input`` and ``X-Output`` are ``X`` if they are the same."""
    bases = {name.removesuffix(_SUFFIXES[0]) for name in definitions if name.endswith(_SUFFIXES[0])}
    joined = {base for base in bases if base + _SUFFIXES[1] in definitions and base not in definitions}
    while True:
        renamed = {base + suffix: base for base in joined for suffix in _SUFFIXES}
        different = {
            base
            for base in joined
            if _renamed(definitions[base + _SUFFIXES[0]], renamed)
            != _renamed(definitions[base + _SUFFIXES[1]], renamed)
        }
        if not different:
            break
        joined -= different  # those that refer to them differ, too
    found = {renamed.get(name, name): _renamed(each, renamed) for name, each in definitions.items()}
    return {key: _renamed(each, renamed) for key, each in schemas.items()}, found


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: _POINTER + names.get(each.removeprefix(_POINTER), each.removeprefix(_POINTER))
            if key == "$ref" and isinstance(each, str) and each.startswith(_POINTER)
            else _renamed(each, names)
            for key, each in schema.items()
        }
    return [_renamed(each, names) for each in schema] if isinstance(schema, list) else schema

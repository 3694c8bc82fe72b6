"""Finds the lines of a TOML file that its tables and keys are on, which the parser of the standard library drops."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["lines_of"]

_HEADER = re.compile(r"\s*(\[\[?[^\[\]]+\]\]?)\s*(#.*)?")


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, from 1, of each table and key, by its path: ``("app", "MAX_BODY")``.

    Args:
        text: a valid TOML document. Nothing of its values is kept.
    """
    import tomllib

    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    statement, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not statement:
            start = number
            if header := _HEADER.fullmatch(line):
                table = _paths(tomllib.loads(header[1]))[-1]
                found.setdefault(table, number)
                continue
        # A value of several lines is complete as soon as it can be parsed.
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        statement = ""
        for path in _paths(content):
            found.setdefault(table + path, start)
    return found


def _paths(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of all keys, those of tables before what they hold."""
    paths: list[tuple[str, ...]] = []
    for key, value in content.items():
        paths.append((key,))
        if isinstance(value, dict):
            paths += [(key, *path) for path in _paths(value)]
    return paths

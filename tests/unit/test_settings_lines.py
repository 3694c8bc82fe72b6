"""Settings: the line of each key, however the file is written."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core.settings.toml_lines import lines_of

NAMES = st.text("abcXYZ019_-", min_size=1, max_size=6)
VALUES = st.sampled_from(
    [
        "1",
        "true",
        '"a # b"',
        "'[app]'",
        '"""\n[app]\nKEY = 1\n"""',
        "'''\n# x\n'''",
        "[\n  1, # one\n  2,\n]",
        "{ a = 1 }",
    ]
)
FILLERS = st.lists(st.sampled_from(["", "# KEY = 1", "   "]), max_size=2)


@st.composite
def documents(draw: Any) -> tuple[str, dict[tuple[str, ...], int]]:
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for table in draw(st.lists(NAMES, unique=True, max_size=4)):
        lines += draw(FILLERS)
        nested = draw(st.booleans())
        path = ("profile", table) if nested else (f"t{table}",)
        lines.append(f"  [ {'.'.join(path)} ] # a table" if draw(st.booleans()) else f"[{'.'.join(path)}]")
        expected[path] = len(lines)
        for key in draw(st.lists(NAMES, unique=True, max_size=4)):
            lines += draw(FILLERS)
            written = f'"{key}"' if draw(st.booleans()) else key
            expected[*path, key] = len(lines) + 1
            lines += f"{written} = {draw(VALUES)}".split("\n")
    return "\n".join(lines), expected


@given(documents())
def test_every_table_and_key_has_its_line(document: tuple[str, dict[tuple[str, ...], int]]) -> None:
    text, expected = document
    tomllib.loads(text)
    found = lines_of(text)
    assert {path: found[path] for path in expected} == expected

"""The tables of docs/protocol.md have every header that the code has, with its type."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.blocks import ROOT
from tests.packaging.conftest import MEMBERS

PAGE = Path("docs/protocol.md")
TYPES = {"text", "integer", "boolean", "float", "bytes", "text or bytes"}
_ROW = re.compile(
    r"^\| `(?P<name>rb-[a-z-]+)` \| (?P<type>[^|]+) \| (?P<place>[^|]+) \| (?P<links>\[[^|]+) \|$", re.MULTILINE
)
_HEADER = re.compile(r"rb-[a-z]+(?:-[a-z]+)*")


def _text() -> str:
    return (ROOT / PAGE).read_text(encoding="utf-8")


def _rows() -> list[dict[str, str]]:
    table = _text().partition("\n### All headers\n")[2].partition("\n### ")[0]
    return [row.groupdict() for row in _ROW.finditer(table)]


def _in_code() -> set[str]:
    """Return the names that stand in the code of the engines and of the RabbitMQ transport, as text or as bytes."""
    found = set()
    for name in ("rabibridge-core", "rabibridge-rabbitmq"):
        for file in (MEMBERS[name].folder / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                    value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
                    if _HEADER.fullmatch(value):
                        found.add(value)
    return found


def test_the_table_has_every_header_once() -> None:
    names = [row["name"] for row in _rows()]
    assert names == sorted(_in_code())


def test_every_header_has_a_type_and_is_described_where_the_table_says() -> None:
    sections = dict(re.findall(r"^#{2,3} (.+)\n((?:(?!#{2,3} ).*\n)*)", _text(), re.MULTILINE))
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"): text for title, text in sections.items()}
    for row in _rows():
        assert row["type"] in TYPES, row
        links = re.findall(r"\(#([\w-]+)\)", row["links"])
        assert links, row
        for link in links:
            assert f"`{row['name']}`" in anchors[link], f"{row['name']} is not described in #{link}"

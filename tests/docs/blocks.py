"""Code blocks and links of the Markdown files, and what their authors ask of the test run.

A directive is one of the first lines of a block, ``# needs: service add``, or, where readers should not see it, an HTML
comment above the block: ``<!-- needs: service add -->``. CONTRIBUTING.md lists the directives.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> {0,6})(?P<marks>`{3,})(?P<language>[\w+-]*)")
_COMMENT = re.compile(r"^\s*<!-- (?P<text>(?:pytest|script|needs|not run|output|untyped)\b.*?) -->\s*$")
_DIRECTIVE = re.compile(r"^# (?P<text>(?:pytest|script|needs|not run): .+)$")
_FILE = re.compile(r"^# (?P<name>[\w/-]+\.\w+)$")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        document: its file, relative to the root.
        line: where its first line stands in that file.
        language: what stands behind the opening fence.
        text: what is inside, directives included.
        directives: ``pytest``, ``script``, ``needs``, ``not run``, ``output`` or ``untyped``, and what stands behind
            the colon.
    """

    document: Path
    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Where it stands, for the names of tests."""
        return f"{self.document}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block is: ``# client.py``, ``# pytest: test_shop.py`` or ``# script: demo.py``."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found["name"] if found else self.directives.get("pytest") or self.directives.get("script") or None

    @property
    def runner(self) -> Literal["script", "pytest"] | None:
        """How to run it: as it says; else by pytest if it holds tests; else as a script, unless it is a mere file."""
        if "not run" in self.directives:
            return None
        if "pytest" in self.directives:
            return "pytest"
        if "script" in self.directives:
            return "script"
        functions = (node for node in ast.walk(ast.parse(self.text)) if isinstance(node, _FUNCTIONS))
        if any(function.name.startswith("test_") for function in functions):
            return "pytest"
        return "script" if self.file is None else None


def documents() -> list[Path]:
    """Return the Markdown files for users, relative to the root."""
    places = ("*.md", "docs/**/*.md", "packages/*/README.md")
    return sorted(path.relative_to(ROOT) for place in places for path in ROOT.glob(place))


def blocks_of(document: Path) -> list[Block]:
    """Return the fenced blocks of a file in their order."""
    return list(_all_blocks_of(document))


@cache
def _all_blocks_of(document: Path) -> tuple[Block, ...]:
    return tuple(_blocks(document, (ROOT / document).read_text(encoding="utf-8").splitlines()))


def _blocks(document: Path, lines: list[str]) -> Iterator[Block]:
    directives: dict[str, str] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if comment := _COMMENT.match(line):
            directives |= _directive(comment["text"])
        elif fence := _FENCE.match(line):
            first = at
            while at < len(lines) and lines[at].strip() != fence["marks"]:
                at += 1
            assert at < len(lines), f"{document}:{first}: the block has no end"
            inside = [inner.removeprefix(fence["indent"]) for inner in lines[first:at]]
            for inner in inside:
                if (own := _DIRECTIVE.match(inner)) is None:
                    break
                directives |= _directive(own["text"])
            yield Block(document, first + 1, fence["language"], "\n".join(inside) + "\n", directives)
            directives = {}
            at += 1
        elif line.strip():
            assert not directives, f"{document}:{at}: a directive stands right above its block"


def _directive(text: str) -> dict[str, str]:
    name, _, value = text.partition(":")
    return {name.strip(): value.strip()}


@cache
def prose_of(document: Path) -> str:
    """Return the text of a file without its blocks and its inline code."""
    text = (ROOT / document).read_text(encoding="utf-8")
    text = re.sub(r"^ *(`{3,}).*?^ *\1 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "", text)


def links_of(document: Path) -> list[str]:
    """Return the targets of the links that lead into this repository."""
    targets = [found["target"] for found in _LINK.finditer(prose_of(document))]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@cache
def anchors_of(document: Path) -> frozenset[str]:
    """Return the anchors that the headings of a file make."""
    text = (ROOT / document).read_text(encoding="utf-8")
    text = re.sub(r"^ *(`{3,}).*?^ *\1 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, flags=re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)

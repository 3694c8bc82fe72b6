"""Links inside the repository lead somewhere, and the reference pages name everything that exists."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest

import rabibridge
from rabibridge_core.plugins.manager import PluginManager
from tests.docs.blocks import ROOT, anchors_of, blocks_of, documents, links_of

ERRORS = [name for name in rabibridge.__all__ if name.endswith("Error")]
LINKS = [
    pytest.param(document, link, id=f"{document}: {link}") for document in documents() for link in links_of(document)
]


@pytest.mark.parametrize(("document", "link"), LINKS)
def test_a_link_leads_somewhere(document: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / document.parent / path).resolve() if path else ROOT / document
    assert target.exists()
    assert target.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors_of(target.relative_to(ROOT))


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [Path("README.md")]
    while waiting:
        document = waiting.pop()
        if document in seen:
            continue
        seen.add(document)
        targets = ((ROOT / document.parent / link.partition("#")[0]).resolve() for link in links_of(document))
        waiting += [target.relative_to(ROOT) for target in targets if target.suffix == ".md" and target.is_file()]
    assert {document for document in documents() if document.parts[0] == "docs"} <= seen


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = next(block.text for block in blocks_of(Path("docs/errors.md")) if block.language == "text")
    branch: list[type[BaseException]] = []
    names: set[str] = set()
    for line in drawn.splitlines():
        name, *mixed_in = re.findall(r"\w+", line)
        error = getattr(rabibridge, name)
        names.add(name)
        depth = line.index(name) // 3
        branch[depth:] = [error]
        parent = branch[depth - 1] if depth else Exception
        assert [parent, *(getattr(builtins, one) for one in mixed_in)] == list(error.__bases__)
    assert names == set(ERRORS)


def test_the_page_of_errors_names_all_of_them() -> None:
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert [name for name in ERRORS if f"`{name}`" not in text] == []


def test_the_page_of_plugins_names_all_hooks() -> None:
    text = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(PluginManager().hook) if name.startswith("rabibridge_")]
    assert len(hooks) > 5
    assert [name for name in hooks if f"`{name}(" not in text] == []

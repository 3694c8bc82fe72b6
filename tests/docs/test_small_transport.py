"""The example of docs/writing-a-transport.md passes the conformance suite, and the page shows it as it is.

Only the classes that test the protocol run here: the whole suite on it takes as long as on the broker in memory.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.processes import clean_environment, run_python

EXAMPLE = ROOT / "examples" / "small_transport"
BLOCKS = [block for block in blocks_of(Path("docs/writing-a-transport.md")) if block.language == "python"]


def test_the_example_passes() -> None:
    chosen = "Seam or Queues or Signals or Parts"
    options = ["-q", "-p", "no:cacheprovider", "-k", chosen]
    printed = run_python(["-m", "pytest", *options, "test_small_transport.py"], EXAMPLE, clean_environment())
    assert " passed" in printed, printed
    assert "skipped" not in printed, printed


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_the_page_shows_a_part_of_it(block: Block) -> None:
    shown = (block.text, indent(block.text.replace("\n\n\n", "\n\n"), "    "))  # functions, or methods
    sources = [path.read_text(encoding="utf-8") for path in EXAMPLE.glob("*.py")]
    assert any(text in source for source in sources for text in shown)

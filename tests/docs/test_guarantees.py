"""The pages that tell of faults name tests that exist, and every test of a fault."""

from __future__ import annotations

import ast
import re

from tests.docs.blocks import ROOT

_LINK = re.compile(r"\[([^]]+)\]\(\.\./tests/chaos/(test_\w+\.py)\)")
_NOT_A_ROW = "test_soak.py"
_PAGES = ("guarantees.md", "redis.md")  # on RabbitMQ, and on Redis


def test_every_fault_is_shown_by_a_test_and_every_test_of_a_fault_is_named() -> None:
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in _PAGES)
    named = {(module, "test_" + name.replace(" ", "_")) for name, module in _LINK.findall(text)}
    written = {
        (path.name, node.name)
        for path in (ROOT / "tests/chaos").glob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and path.name != _NOT_A_ROW
    }
    assert named == written

"""The tree in docs/architecture.md is the tree of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SOURCES = {
    "rabibridge_core": _ROOT / "packages/rabibridge-core/src/rabibridge_core",
    "rabibridge": _ROOT / "packages/rabibridge-rabbitmq/src/rabibridge",
    "rabibridge_redis": _ROOT / "packages/rabibridge-redis/src/rabibridge_redis",
    "rabibridge_telemetry": _ROOT / "packages/rabibridge-telemetry/src/rabibridge_telemetry",
    "rabibridge_testing": _ROOT / "packages/rabibridge-testing/src/rabibridge_testing",
}
_UNLISTED = {"rabibridge_testing/conformance"}
"""Packages whose modules the page does not list."""


def _documented() -> dict[str, set[str]]:
    """Return the modules that the page lists, for each package."""
    page = (_ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    (tree,) = [block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if block.startswith("rabibridge")]
    package = entry = ""
    for line in tree.splitlines():
        if match := re.fullmatch(r"(\w+)/", line):
            package = match[1]
            found[package] = set()
        elif match := re.match(r"[├└]─ (\w+(?:/\w+)*)(/?)", line):
            entry = f"{package}/{match[1]}"
            if match[2]:
                found[entry] = set()
            else:
                found[package].add(match[1])
        elif match := re.match(r"[│ ]\s+(\S.*)", line):
            found[entry] |= set(re.findall(r"\w+", match[1]))
    return found


def _existing() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, source in _SOURCES.items():
        for file in source.rglob("*.py"):
            package = "/".join((name, *file.parent.relative_to(source).parts))
            modules = found.setdefault(package, set())
            if file.stem != "__init__":
                modules.add(file.stem)
    return found


@pytest.mark.parametrize("distribution", _SOURCES)
def test_the_page_shows_every_package_and_module(distribution: str) -> None:
    documented, existing = _documented(), _existing()
    packages = {name for name in existing if name.split("/")[0] == distribution}
    assert packages == {name for name in documented if name.split("/")[0] == distribution}
    for package in packages - _UNLISTED:
        assert documented[package] == existing[package], f"the modules of {package} in docs/architecture.md"

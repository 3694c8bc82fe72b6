"""A distribution declares every library that its code imports, also those that are imported late."""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.packaging.conftest import Member


def test_every_import_is_declared(member: Member) -> None:
    extras = member.project.get("optional-dependencies", {}).values()
    declared = {
        canonicalize_name(Requirement(need).name)
        for needs in [member.project["dependencies"], *extras]
        for need in needs
    }
    distributions = _distributions()
    undeclared = {
        name
        for name in _imports(member.folder / "src")
        if name not in sys.stdlib_module_names
        and name != member.import_name
        and not {canonicalize_name(one) for one in distributions.get(name, [name])} & declared
    }
    assert undeclared == set()


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _imports(folder: Path) -> Iterator[str]:
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield str(node.module).partition(".")[0]

"""Imports among the files of a folder: which there are, and how they find their own folder first.

A file of a plug-in folder may import its neighbours as scripts do, ``from helper import TABLE``, although the folder is
not on ``sys.path``: its name there would belong to the whole process, and two folders with a ``helper.py`` would share
one. Such an import is compiled as the relative import that it means, ``from .helper import TABLE``.

Nothing here reads a file or imports anything.
"""

from __future__ import annotations

import ast
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

__all__ = ["compile_source", "imported_names", "is_standard"]


def is_standard(name: str) -> bool:
    """Tell whether a name is that of a public module of the standard library, which no file of a folder replaces."""
    return name in sys.stdlib_module_names and not name.startswith("_")


def compile_source(source: bytes, file: str, *, level: int, is_own: Callable[[str], bool]) -> CodeType:
    """Compile a module of a folder, with imports of its neighbours made relative.

    Args:
        source: the text of the file.
        file: its path, for tracebacks.
        level: number of dots of a relative import that leads to the folder: 1 for its files, 2 in its packages.
        is_own: whether a top-level name is that of another file or package of the folder.

    Raises:
        SyntaxError: the source is not Python. ValueError: it contains null bytes (before Python 3.12).
    """
    tree = ast.parse(source, file)
    if any(is_own(name) for name in _absolute_names(tree)):
        tree = ast.fix_missing_locations(_MakeRelative(level, is_own).visit(tree))
    return compile(tree, file, "exec", dont_inherit=True)


def imported_names(source: bytes, *, level: int, package: str) -> frozenset[str]:
    """Return the names of all modules that may be files of the folder ``package``, as its sources import them.

    Only ``import`` statements are seen. A source that is not Python imports nothing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # they are given when the file is compiled
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset()
    names = set(_absolute_names(tree))
    inside = package + "."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {_top(alias.name[len(inside) :]) for alias in node.names if alias.name.startswith(inside)}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == level and module:
                names.add(_top(module))
            elif module.startswith(inside) and not node.level:
                names.add(_top(module[len(inside) :]))
            elif node.level == level or (module == package and not node.level):
                names |= {alias.name for alias in node.names}
    return frozenset(names)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _absolute_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (_top(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield _top(node.module or "")


class _MakeRelative(ast.NodeTransformer):
    """Makes imports of own names relative, wherever they are in the tree."""

    def __init__(self, level: int, is_own: Callable[[str], bool]) -> None:
        self._level = level
        self._is_own = is_own

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if not node.level and node.module and self._is_own(_top(node.module)):
            node.level = self._level
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        return [ast.copy_location(one, node) for alias in node.names for one in self._import(alias)]

    def _import(self, alias: ast.alias) -> Iterator[ast.stmt]:
        top = _top(alias.name)
        if not self._is_own(top):
            yield ast.Import([alias])
            return
        package, _, last = alias.name.rpartition(".")
        if package:  # ``import a.b`` imports a.b, and binds a
            yield ast.ImportFrom(package, [ast.alias(last, alias.asname or top)], self._level)
        if not package or alias.asname is None:
            yield ast.ImportFrom(None, [ast.alias(top, alias.asname)], self._level)

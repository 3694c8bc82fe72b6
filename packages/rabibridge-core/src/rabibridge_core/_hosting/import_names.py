"""The names under which a folder and its files are imported."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from rabibridge_core._hosting.own_imports import is_standard

__all__ = ["file_name", "module_tail", "package_name", "top_level_name"]


def package_name(folder: Path) -> str:
    """Return the name of the package that a folder is: the one by which ``sys.path`` leads to it, else a private one.

    So its modules are the same as those of ``import app.plugins.orders``, where that is possible. No name of the
    standard library is taken.

    Args:
        folder: an absolute path without symbolic links.
    """
    for base in _search_path():
        if base != folder and folder.is_relative_to(base):
            parts = folder.relative_to(base).parts
            if all(part.isidentifier() for part in parts) and not is_standard(parts[0]) and _leads_to(parts, folder):
                return ".".join(parts)
    return "rabibridge_plugins_" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def top_level_name(file: Path) -> str | None:
    """Return the name by which ``sys.path`` leads to a file, if that is a top-level module; else ``None``."""
    name = file.stem
    if not name.isidentifier() or is_standard(name) or file.parent not in _search_path():
        return None
    module = sys.modules.get(name)
    if module is not None:
        found = getattr(module, "__file__", None)
    else:
        spec = PathFinder.find_spec(name)
        found = spec.origin if spec is not None else None
    return name if found is not None and Path(found).resolve() == file else None


def module_tail(stem: str) -> str:
    """Return the last part of the name of a module whose file has this name without ``.py``; see :func:`file_name`."""
    return stem.replace("%", "%25").replace(".", "%2E")


def file_name(tail: str) -> str:
    """Return the name of a file, without ``.py``, from the last part of the name of its module."""
    return tail.replace("%2E", ".").replace("%25", "%")


def _search_path() -> list[Path]:
    return [Path(entry or os.curdir).resolve() for entry in sys.path]


def _leads_to(parts: tuple[str, ...], folder: Path) -> bool:
    """Tell whether importing these names would give the folder and nothing else. Nothing is imported."""
    locations: list[str] | None = None
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        module = sys.modules.get(name)
        if module is not None:
            found = getattr(module, "__path__", ())
        else:
            spec = PathFinder.find_spec(name, locations)
            found = (spec.submodule_search_locations or ()) if spec is not None else ()
        locations = list(found)
        if not locations:
            return False
    return [Path(location).resolve() for location in locations or ()] == [folder]

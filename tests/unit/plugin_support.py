"""Writes and loads plug-in folders."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rabibridge_core._hosting.plugin_folder import PluginFolder

__all__ = ["HEAD", "imports_as_before", "on_path", "results", "service", "write"]

HEAD = "from rabibridge import register_call\n"


@contextmanager
def imports_as_before() -> Iterator[None]:
    """Forget what is imported from temporary folders, and what is added to the path."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - modules.keys():
        if (getattr(sys.modules[name], "__file__", None) or "/tmp").startswith(("/tmp", os.path.realpath("/tmp"))):
            del sys.modules[name]
    sys.path[:] = path


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def service(name: str, body: str = "return 1", imports: str = "") -> str:
    return f"{imports}\n{HEAD}@register_call\ndef {name}(*args):\n    {body}\n"


def results(folder: PluginFolder) -> dict[str, Any]:
    return {schema.name: schema.func_ptr() for schema in folder.load()}

"""Writes and loads plug-in folders, and installs plug-ins for a test."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import pytest

    from rabibridge_core._hosting.plugin_folder import PluginFolder

__all__ = ["HEAD", "entry_points", "imports_as_before", "on_path", "results", "service", "write"]

HEAD = "from rabibridge import register_call\n"


@contextmanager
def imports_as_before(folder: Path) -> Iterator[None]:
    """Forget what is imported from below ``folder``, and what is added to the path."""
    modules, path = dict(sys.modules), list(sys.path)
    try:
        yield
    finally:
        new = {name: _places_of(sys.modules[name]) for name in sys.modules.keys() - modules.keys()}
        for name, places in new.items():  # places are looked up before: a package asks for its parent
            if any(Path(place).is_relative_to(folder.resolve()) for place in places):
                del sys.modules[name]
        sys.path[:] = path


def _places_of(module: ModuleType) -> list[str]:
    file = getattr(module, "__file__", None)
    return [file] if file is not None else list(getattr(module, "__path__", ()))


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


def entry_points(monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Let these be all the plug-ins that are installed: ``name="module"`` or ``name="module:attribute"``."""
    entries = [EntryPoint(name, value, "rabibridge") for name, value in modules.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)

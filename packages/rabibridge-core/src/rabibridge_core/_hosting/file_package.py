"""Loads the files of a folder as the modules of one package: plug-in folders, and files given to ``rabibridge run``.

- The package is in ``sys.modules`` and has ``__path__``, so that relative imports, pickle and ``inspect`` work.
- A file is one module, however it is imported: as a plug-in, by its neighbours, or by ``import app.plugins.orders``.
- A file finds the files of its folder first; nothing is added to ``sys.path``, and no module of the process is
  replaced.
- Sources are compiled each time: cached bytecode misses the second of two edits within one second.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from rabibridge_core._hosting.import_names import file_name, module_tail, package_name, top_level_name
from rabibridge_core._hosting.own_imports import compile_source, is_standard
from rabibridge_core._reporting.module_names import name_package

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType

__all__ = ["FilePackage", "load_file", "package_of"]

_packages: dict[str, FilePackage] = {}


def package_of(folder: Path, *, stable: str | None = None) -> FilePackage:
    """Return the package of a folder: one for each folder of the process.

    Args:
        folder: an absolute path without symbolic links.
        stable: the name of the package for other processes; ``None``: its import name, if it can be imported.
    """
    package = next((known for known in _packages.values() if known.folder == folder), None)
    if package is None:
        package = FilePackage(folder)
        _packages[package.name] = package
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        if package.name.startswith("rabibridge_plugins_"):
            name_package(package.name, "")
    if stable is not None:
        name_package(package.name, stable)
    return package


def load_file(file: Path) -> ModuleType:
    """Import one Python file, under the name by which ``sys.path`` leads to it, else as a module of its folder."""
    file = file.resolve()
    name = top_level_name(file)
    if name is not None:
        return importlib.import_module(name)
    return package_of(file.parent).load(file.stem)


class FilePackage:
    """A folder of Python files as a package. A unit of it is a file, or a folder with an ``__init__.py``."""

    def __init__(self, folder: Path) -> None:
        """Find the name of the package; nothing is imported yet."""
        self.folder = folder
        self.name = package_name(folder)
        self._versions: dict[str, bytes | None] = {}
        """The version of each unit that was imported, or tried."""
        self._next: Mapping[str, bytes] = {}
        self._taken_out: dict[str, dict[str, ModuleType]] = {}
        self._failed: set[str] = set()

    def module_name(self, unit: str) -> str:
        """Return the name of the module of a unit; that of ``__init__`` is the package itself."""
        return self.name if unit == "__init__" else f"{self.name}.{module_tail(unit)}"

    def load(self, unit: str) -> ModuleType:
        """Import a unit, unless it was imported before."""
        return importlib.import_module(self.module_name(unit))

    def begin(self, versions: Mapping[str, bytes]) -> None:
        """Let units be imported anew whose version has changed; :meth:`end` must follow.

        Until then their old modules are kept, and are put back by :meth:`put_back`.
        """
        self._next = versions
        for unit in versions.keys() - self._versions.keys():
            if self.module_name(unit) in sys.modules:  # imported by others before the folder was loaded
                self._versions[unit] = versions[unit]
        for unit, version in list(self._versions.items()):
            if version is None and unit in versions:
                self._versions[unit] = versions[unit]
            elif version != versions.get(unit):
                del self._versions[unit]
                self._taken_out[unit] = self._take_out(unit)

    def put_back(self, unit: str) -> None:
        """Put the old modules of a unit back, after an attempt to import it anew has failed."""
        self._versions[unit] = self._next.get(unit)
        modules = self._taken_out.get(unit)
        if modules:
            self._take_out(unit)
            for name, module in modules.items():
                sys.modules[name] = module
                _bind(name, module)

    def end(self) -> None:
        """Put back what failed without being asked for, such as helpers, and forget the other old modules."""
        for unit in self._failed & self._taken_out.keys():
            if self.module_name(unit) not in sys.modules:
                self.put_back(unit)
        self._failed.clear()
        self._taken_out.clear()

    def _take_out(self, unit: str) -> dict[str, ModuleType]:
        own, short = self.module_name(unit), top_level_name(self.folder / f"{unit}.py")
        names = [own] if unit == "__init__" else [name for name in sys.modules if name == own or _is_in(own, name)]
        if short is not None and sys.modules.get(short) is sys.modules.get(own):
            names.append(short)
        taken = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        parent, _, last = own.rpartition(".")
        if unit != "__init__" and own in taken and getattr(sys.modules.get(parent), last, None) is taken[own]:
            delattr(sys.modules[parent], last)
        return taken

    def spec(self, name: str, locations: Sequence[str]) -> ModuleSpec | None:
        """Return how a module of this package is loaded."""
        if name == self.name:
            return self._spec_of_itself()
        tail = file_name(name.rpartition(".")[2])
        unit = file_name(name[len(self.name) + 1 :].partition(".")[0])
        for location in locations:
            folder = os.path.join(location, tail)
            for file, search in ((os.path.join(folder, "__init__.py"), [folder]), (f"{folder}.py", None)):
                if os.path.isfile(file):
                    known = _imported_already(Path(file)) if location == str(self.folder) else None
                    loader = _SourceLoader(name, file, self, unit) if known is None else _KnownModule(known, self, unit)
                    return spec_from_file_location(name, file, loader=loader, submodule_search_locations=search)
        return PathFinder.find_spec(name, locations)

    def _spec_of_itself(self) -> ModuleSpec | None:
        file, search = str(self.folder / "__init__.py"), [str(self.folder)]
        if os.path.isfile(file):
            loader = _SourceLoader(self.name, file, self, "__init__")
            return spec_from_file_location(self.name, file, loader=loader, submodule_search_locations=search)
        spec = ModuleSpec(self.name, None, is_package=True)
        spec.submodule_search_locations = search
        return spec

    def has(self, name: str) -> bool:
        """Tell whether the folder has a file or package that an absolute import of this name means."""
        return not is_standard(name) and (
            os.path.isfile(self.folder / f"{name}.py") or os.path.isfile(self.folder / name / "__init__.py")
        )

    def loaded(self, unit: str) -> None:
        """Called when a module of a unit was imported."""
        self._versions.setdefault(unit, self._next.get(unit))
        if unit == "__init__":  # a new package does not know the modules that stay
            for name, module in list(sys.modules.items()):
                if name.rpartition(".")[0] == self.name:
                    _bind(name, module)

    def failed(self, unit: str) -> None:
        """Called when a module of a unit raised while it was imported."""
        self._failed.add(unit)


def _is_in(package: str, name: str) -> bool:
    return name.startswith(package + ".")


def _bind(name: str, module: ModuleType) -> None:
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)


def _imported_already(file: Path) -> ModuleType | None:
    """Return the module of a file that was imported as a top-level module: the folder is on ``sys.path``."""
    name = top_level_name(file)
    return None if name is None else sys.modules.get(name)


class _SourceLoader(SourceFileLoader):
    """Compiles the file, with imports of neighbours made relative; reads and writes no bytecode."""

    def __init__(self, name: str, file: str, package: FilePackage, unit: str) -> None:
        super().__init__(name, file)
        self.rabibridge_folder = str(package.folder)
        """Tells child processes, which import the module by its name, to load this folder as a package first."""
        self._package = package
        self._unit = unit

    def get_code(self, fullname: str) -> CodeType:
        file = self.get_filename(fullname)
        depth = fullname.count(".") - self._package.name.count(".")
        level = depth + 1 if self.is_package(fullname) else depth

        def is_own(name: str) -> bool:
            return name != self._unit and self._package.has(name)

        return compile_source(self.get_data(file), file, level=level, is_own=is_own)

    def exec_module(self, module: ModuleType) -> None:
        # Where the folder is on sys.path, a file has a second name, which must lead to the same module.
        short = top_level_name(Path(self.path)) if self._unit != "__init__" else None
        if short is not None:
            sys.modules[short] = module
        try:
            super().exec_module(module)
        except BaseException:
            if short is not None:
                sys.modules.pop(short, None)
            self._package.failed(self._unit)
            raise
        self._package.loaded(self._unit)


class _KnownModule(Loader):
    """Gives a module that was imported under another name before."""

    def __init__(self, module: ModuleType, package: FilePackage, unit: str) -> None:
        self._module, self._spec = module, module.__spec__
        self._package, self._unit = package, unit

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has replaced it
        self._package.loaded(self._unit)


class _Finder(MetaPathFinder):
    """Finds the packages of folders, and what is in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname
        while name:
            package = _packages.get(name)
            if package is not None:
                return package.spec(fullname, path or ())
            name = name.rpartition(".")[0]
        return None


_FINDER = _Finder()

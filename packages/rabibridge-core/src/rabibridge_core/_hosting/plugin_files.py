"""What is in a plug-in folder: its units, their content, and what they import from each other.

A unit is a Python file, or a folder with an ``__init__.py``. Hidden files, and folders that are no packages, are none.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core._hosting.own_imports import imported_names
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PluginFiles", "Unit"]

_log = get_logger(__name__)
_TIME_RESOLUTION_NS = 2_000_000_000
"""A file that was modified within this time is read again, in nanoseconds: some file systems store modification times
in steps of two seconds, so that a second change may not show."""
_Stamp: TypeAlias = tuple[int, int, int]
"""Inode, size in bytes and modification time in nanoseconds of a file."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One file or package of the folder.

    Attributes:
        path: the file, or the folder of the package.
        digest: of its content.
        imports: names of the modules that it imports, which may be units of the folder.
    """

    path: Path
    digest: bytes
    imports: frozenset[str]

    @property
    def is_helper(self) -> bool:
        """Whether it is there for the others, and offers no services itself."""
        return self.path.name.startswith("_")


class PluginFiles:
    """The units of a folder, read again when files have changed."""

    def __init__(self, folder: Path, package: str) -> None:
        """Use the folder, whose modules are imported as ``package``; nothing is read yet."""
        self._folder = folder
        self._package = package
        self._stamps: dict[Path, _Stamp] | None = None
        self._recently_modified = False
        self._passed_over: set[Path] = set()
        self.units: dict[str, Unit] = {}
        """The units by name: that of the file without ``.py``, or of the package's folder."""

    def scan(self) -> bool:
        """Look at the folder, and tell whether :attr:`units` may have changed."""
        now = time.time_ns()
        stamps: dict[Path, _Stamp] = {}
        for path in self._sources():
            try:
                found = path.stat()
            except OSError:
                continue  # deleted meanwhile, or a broken link
            if stat.S_ISREG(found.st_mode):
                stamps[path] = found.st_ino, found.st_size, found.st_mtime_ns
        changed = self._recently_modified or stamps != self._stamps
        self._stamps = stamps
        self._recently_modified = any(modified_at > now - _TIME_RESOLUTION_NS for _, _, modified_at in stamps.values())
        if changed:
            self._read()
        return changed

    def versions(self) -> dict[str, bytes]:
        """Return a version of each unit, which changes with its content and that of the units that it imports.

        That of a plug-in changes with every helper, too: an import by ``importlib`` cannot be seen in its source.
        """
        helpers = {name for name, unit in self.units.items() if unit.is_helper}
        return {
            name: self._digest_of(self._reachable({name} if unit.is_helper else {name} | helpers))
            for name, unit in self.units.items()
        }

    def _reachable(self, names: set[str]) -> set[str]:
        found, to_see = set(names), list(names)
        while to_see:
            new = (self.units[to_see.pop()].imports & self.units.keys()) - found
            found |= new
            to_see += new
        return found

    def _digest_of(self, names: set[str]) -> bytes:
        return _digest(b"".join(name.encode() + b"\0" + self.units[name].digest for name in sorted(names)))

    def _sources(self) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(self._folder), key=lambda entry: entry.name)
        except OSError as error:
            _log.error(
                "cannot read the plug-in folder %s: %s", self._folder, error,
                extra=log_fields("plugin_folder.unreadable", path=self._folder, error=error),
            )  # fmt: skip
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.name.endswith(".py"):
                yield path
            elif entry.is_dir():
                if (path / "__init__.py").is_file():
                    yield from (file for file in sorted(path.rglob("*.py")) if not _is_hidden(file.relative_to(path)))
                elif path not in self._passed_over and not entry.name.startswith("_") and any(path.glob("*.py")):
                    self._passed_over.add(path)
                    _log.warning(
                        "%s is not loaded: a package needs an __init__.py", path,
                        extra=log_fields("plugin_file.skipped", path=path),
                    )  # fmt: skip

    def _read(self) -> None:
        contents: dict[str, dict[Path, bytes]] = {}
        for path in sorted(self._stamps or ()):
            unit = path.relative_to(self._folder).parts[0]
            name = unit if path.parent != self._folder else path.stem
            try:
                source = path.read_bytes()
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError as error:
                _log.error(
                    "cannot read the plug-in %s: %s", path, error,
                    extra=log_fields("plugin_file.unreadable", path=path, error=error),
                )  # fmt: skip
                continue
            contents.setdefault(name, {})[path] = source
        self.units = {name: self._unit(name, sources) for name, sources in contents.items()}

    def _unit(self, name: str, sources: Mapping[Path, bytes]) -> Unit:
        package = self._folder / name
        is_package = (package / "__init__.py") in sources
        path = package if is_package else self._folder / f"{name}.py"
        digest = _digest(b"".join(str(file).encode() + b"\0" + _digest(source) for file, source in sources.items()))
        known = self.units.get(name)
        if known is not None and (known.path, known.digest) == (path, digest):
            return known
        if is_package and path.with_suffix(".py") in sources:
            _log.warning(
                "%s.py is not loaded: the package %s has its name", path, path,
                extra=log_fields("plugin_file.skipped", path=path),
            )  # fmt: skip
        imports = (self._imports(file, source) for file, source in sources.items())
        return Unit(path, digest, frozenset().union(*imports) - {name})

    def _imports(self, file: Path, source: bytes) -> frozenset[str]:
        level = len(file.relative_to(self._folder).parts)
        return imported_names(source, level=level, package=self._package)


def _digest(source: bytes) -> bytes:
    return hashlib.sha256(source).digest()


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)

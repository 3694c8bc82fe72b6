"""Loads services from a folder of Python files, and changes them while they run when the files change."""

from __future__ import annotations

import hashlib
import logging
import re
import stat
import sys
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core._services.marks import services_in
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_core._server.server import Server
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["PluginFolder", "watch"]

_log = logging.getLogger(__name__)
_POLL_INTERVAL_MS = 2000
"""How often to check the folder in any case, in milliseconds: file system events can be lost."""
_TIME_RESOLUTION_NS = 2_000_000_000
"""A file that was modified within this time is read again, in nanoseconds: some file systems store modification times
in steps of two seconds, so that a second change may not show."""
_Stamp: TypeAlias = tuple[int, int, int]
"""Inode, size in bytes and modification time in nanoseconds of a file."""


@dataclass
class _Plugin:
    """One file: the digest of its content, and the services of its last version that could be imported."""

    module: str
    digest: bytes = b""
    services: list[ServiceSchema] = field(default_factory=list)


@dataclass
class Changes:
    """How the services of a folder have changed.

    Attributes:
        removed: names of services that no file offers now.
        services: services that are new or were imported again.
        added: names of those services that no file offered before.
    """

    removed: list[str] = field(default_factory=list)
    services: list[ServiceSchema] = field(default_factory=list)
    added: set[str] = field(default_factory=set)


class PluginFolder:
    """Imports every ``*.py`` file of a folder, except those whose name begins with an underscore.

    The folder is appended to ``sys.path``, so that its files can import the underscored ones as helpers. When a helper
    changes, all files are imported again.
    """

    def __init__(self, path: Path) -> None:
        """Use the folder ``path``; nothing is imported yet.

        Raises:
            ConfigurationError: there is no such folder.
        """
        if not path.is_dir():
            raise ConfigurationError(f"the plug-in folder {str(path)!r} does not exist or is not a folder")
        self.path = path.resolve()
        self._package = "rabibridge_plugins_" + hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        self._stamps: dict[Path, _Stamp] | None = None
        self._recently_modified = False
        self._conflicts: set[tuple[str, Path, Path]] = set()
        self._plugins: dict[Path, _Plugin] = {}
        self._helpers: dict[Path, bytes] = {}
        self._services: dict[str, tuple[Path, ServiceSchema]] = {}
        if str(self.path) not in sys.path:
            sys.path.append(str(self.path))

    def load(self) -> list[ServiceSchema]:
        """Import new and changed files, and return the services of the folder. Files that fail are logged."""
        self.update()
        return [schema for plugin in self._plugins.values() for schema in plugin.services]

    def update(self) -> Changes:
        """Import new and changed files, unload deleted ones, and return how the services have changed.

        A file that cannot be imported is logged, and keeps the services it had.
        """
        if not self._scan():
            return Changes()
        files = self._read()
        if self._helpers_changed(files):
            for plugin in self._plugins.values():
                plugin.digest = b""
        for path in self._plugins.keys() - (self._stamps or {}).keys():
            sys.modules.pop(self._plugins.pop(path).module, None)
            _log.info("%s was deleted", path)
        for path, source in files.items():
            if not path.name.startswith("_"):
                self._update_file(path, source)
        before, self._services = self._services, self._resolve_names()
        return Changes(
            removed=[name for name in before if name not in self._services],
            services=[
                schema
                for name, (_, schema) in self._services.items()
                if name not in before or before[name][1] is not schema
            ],
            added=self._services.keys() - before.keys(),
        )

    def _scan(self) -> bool:
        """Tell whether files may have changed since the last scan, without reading them."""
        now = time.time_ns()
        stamps: dict[Path, _Stamp] = {}
        for path in self.path.glob("*.py"):
            try:
                found = path.stat()
            except OSError:
                continue  # deleted meanwhile, or a broken link
            if stat.S_ISREG(found.st_mode):
                stamps[path] = found.st_ino, found.st_size, found.st_mtime_ns
        changed = self._recently_modified or stamps != self._stamps
        self._stamps = stamps
        self._recently_modified = any(modified_at > now - _TIME_RESOLUTION_NS for _, _, modified_at in stamps.values())
        return changed

    def _read(self) -> dict[Path, bytes]:
        files: dict[Path, bytes] = {}
        for path in sorted(self._stamps or ()):
            try:
                files[path] = path.read_bytes()
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError as error:
                _log.error("cannot read the plug-in %s: %s", path, error)
        return files

    def _resolve_names(self) -> dict[str, tuple[Path, ServiceSchema]]:
        """Return file and schema of each service: of the file that had its name before, else of the first one."""
        services: dict[str, tuple[Path, ServiceSchema]] = {}
        offers = [(path, schema) for path, plugin in self._plugins.items() for schema in plugin.services]
        for path, schema in offers:
            owner = services.setdefault(schema.name, (path, schema))[0]
            previous_owner = self._services.get(schema.name, (None,))[0]
            if path == previous_owner and path != owner:
                services[schema.name] = path, schema
        conflicts = {
            (schema.name, path, services[schema.name][0])
            for path, schema in offers
            if schema.func_ptr is not services[schema.name][1].func_ptr
        }
        for name, path, owner in sorted(conflicts - self._conflicts):
            _log.error("the service %r of %s is ignored: %s has one of that name; rename one", name, path, owner)
        self._conflicts = conflicts
        return services

    def _helpers_changed(self, files: dict[Path, bytes]) -> bool:
        helpers = {path: _digest(source) for path, source in files.items() if path.name.startswith("_")}
        changed = self._helpers.keys() - helpers.keys() | {
            path for path, digest in helpers.items() if self._helpers.get(path) != digest
        }
        self._helpers = helpers
        if changed:
            places = {str(path) for path in changed}
            for name, module in list(sys.modules.items()):
                if getattr(module, "__file__", None) in places:
                    del sys.modules[name]
        return bool(changed)

    def _update_file(self, path: Path, source: bytes) -> None:
        plugin = self._plugins.get(path)
        if plugin is None:
            name = re.sub(r"\W", "_", path.stem)
            plugin = self._plugins[path] = _Plugin(f"{self._package}.{name}")
        digest = _digest(source)
        if digest == plugin.digest:
            return
        plugin.digest = digest
        try:
            module = _import(plugin.module, path, source)
            services = services_in(vars(module))
        except (Exception, SystemExit):  # noqa: BLE001 - a plug-in may raise anything
            kept = f"; its previous services stay: {_names(plugin.services)}" if plugin.services else ""
            _log.exception("cannot import the plug-in %s%s", path, kept)
            return
        plugin.services = services
        _log.info("loaded %s, services: %s", path, _names(services) or "none")


def _digest(source: bytes) -> bytes:
    return hashlib.sha256(source).digest()


def _names(services: list[ServiceSchema]) -> str:
    return ", ".join(schema.name for schema in services)


def _import(name: str, path: Path, source: bytes) -> ModuleType:
    """Run the source as a module of that name. If it fails, the previous module of that name stays."""
    before = sys.modules.get(name)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        # Not imported, but compiled from the source: cached bytecode misses the second of two edits within one second.
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


async def watch(server: Server, folder: PluginFolder) -> None:
    """Change the services of a running server whenever the folder changes. Runs until cancelled."""
    refused: set[str] = set()
    async for changes in _changes(folder):
        for name in changes.added:
            if name in server.registry:
                refused.add(name)
                _log.error(
                    "the service %r of %s is ignored: the server has another one of that name", name, folder.path
                )
        removed = [name for name in changes.removed if name not in refused]
        await server.change(removed, [schema for schema in changes.services if schema.name not in refused])
        refused.difference_update(changes.removed)


async def _changes(folder: PluginFolder) -> AsyncIterator[Changes]:
    from watchfiles import awatch

    watching = awatch(folder.path, recursive=False, rust_timeout=_POLL_INTERVAL_MS, yield_on_timeout=True)
    async for _ in watching:
        changes = folder.update()
        if changes.removed or changes.services:
            yield changes

"""Services from a folder of Python files, and changing them in place when the files change."""

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

from rabibridge_core._services.registration import services_in
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_core._server.server import Server
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["PluginFolder", "watch"]

_log = logging.getLogger(__name__)
_LOOK_AGAIN_MS = 2000
"""How often to look at the folder although nothing was heard of it: notice of a change may get lost."""
_FRESH_NS = 2_000_000_000
"""A file changed as lately as this is read again: another change may have left the same time of change, which some
file systems keep in steps of two seconds."""
_Stamp: TypeAlias = tuple[int, int, int]
"""Of a file: which it is, its size in bytes, its time of change in nanoseconds."""


@dataclass
class _Plugin:
    """One file: what it held when last looked at, and the services of the last version that could be imported."""

    module: str
    digest: bytes = b""
    services: list[ServiceSchema] = field(default_factory=list)


@dataclass
class Changes:
    """What became of a folder's services.

    Attributes:
        removed: names that no file offers any more.
        services: those that are new or were imported anew.
        added: the names among them that no file offered before.
    """

    removed: list[str] = field(default_factory=list)
    services: list[ServiceSchema] = field(default_factory=list)
    added: set[str] = field(default_factory=set)


class PluginFolder:
    """Imports every ``*.py`` of a folder, but those whose name begins with an underscore.

    The folder is put on the import path, so that its files can import the underscored ones; when one of those changes,
    all are imported anew.
    """

    def __init__(self, path: Path) -> None:
        """Look at a folder.

        Raises:
            ConfigurationError: there is no such folder.
        """
        if not path.is_dir():
            raise ConfigurationError(f"the plug-in folder {str(path)!r} does not exist or is no folder")
        self.path = path.resolve()
        self._package = "rabibridge_plugins_" + hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        self._stamps: dict[Path, _Stamp] | None = None
        self._fresh = False
        self._clashes: set[tuple[str, Path, Path]] = set()
        self._plugins: dict[Path, _Plugin] = {}
        self._helpers: dict[Path, bytes] = {}
        self._owned: dict[str, tuple[Path, ServiceSchema]] = {}
        if str(self.path) not in sys.path:
            sys.path.append(str(self.path))

    def load(self) -> list[ServiceSchema]:
        """Import what is new or changed and return the services of the folder; what fails is logged."""
        self.update()
        return [schema for plugin in self._plugins.values() for schema in plugin.services]

    def update(self) -> Changes:
        """Import what is new or changed, forget what is gone, and tell what that does to the services.

        A file that cannot be imported is logged; the services it had stay.
        """
        if not self._look():
            return Changes()
        files = self._read()
        if self._helpers_changed(files):
            for plugin in self._plugins.values():
                plugin.digest = b""
        for path in self._plugins.keys() - (self._stamps or {}).keys():
            sys.modules.pop(self._plugins.pop(path).module, None)
            _log.info("%s is gone", path)
        for path, source in files.items():
            if not path.name.startswith("_"):
                self._update_file(path, source)
        before, self._owned = self._owned, self._owners()
        return Changes(
            removed=[name for name in before if name not in self._owned],
            services=[
                schema
                for name, (_, schema) in self._owned.items()
                if name not in before or before[name][1] is not schema
            ],
            added=self._owned.keys() - before.keys(),
        )

    def _look(self) -> bool:
        """Tell whether files may have changed since the last time, without reading them."""
        now = time.time_ns()
        stamps: dict[Path, _Stamp] = {}
        for path in self.path.glob("*.py"):
            try:
                found = path.stat()
            except OSError:
                continue  # gone in between, or a link that leads nowhere
            if stat.S_ISREG(found.st_mode):
                stamps[path] = found.st_ino, found.st_size, found.st_mtime_ns
        changed = self._fresh or stamps != self._stamps
        self._stamps = stamps
        self._fresh = any(changed_at > now - _FRESH_NS for _, _, changed_at in stamps.values())
        return changed

    def _read(self) -> dict[Path, bytes]:
        files: dict[Path, bytes] = {}
        for path in sorted(self._stamps or ()):
            try:
                files[path] = path.read_bytes()
            except FileNotFoundError:
                continue  # gone in between
            except OSError as error:
                _log.error("the plug-in %s cannot be read: %s", path, error)
        return files

    def _owners(self) -> dict[str, tuple[Path, ServiceSchema]]:
        """Return which file each service is taken from: the one that had it before, else the first that offers it."""
        owned: dict[str, tuple[Path, ServiceSchema]] = {}
        offers = [(path, schema) for path, plugin in self._plugins.items() for schema in plugin.services]
        for path, schema in offers:
            known = owned.setdefault(schema.name, (path, schema))[0]
            before = self._owned.get(schema.name, (None,))[0]
            if path == before and path != known:
                owned[schema.name] = path, schema
        clashes = {
            (schema.name, owned[schema.name][0], path)
            for path, schema in offers
            if schema.func_ptr is not owned[schema.name][1].func_ptr
        }
        for name, owner, other in sorted(clashes - self._clashes):
            _log.error("the service %r is taken by %s; the one in %s is left out: rename one", name, owner, other)
        self._clashes = clashes
        return owned

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
        except (Exception, SystemExit):  # noqa: BLE001 - the file is the user's and may raise anything
            kept = f"; its services stay as they were: {_names(plugin.services)}" if plugin.services else ""
            _log.exception("the plug-in %s cannot be imported%s", path, kept)
            return
        plugin.services = services
        _log.info("%s is loaded, services: %s", path, _names(services) or "none")


def _digest(source: bytes) -> bytes:
    return hashlib.sha256(source).digest()


def _names(services: list[ServiceSchema]) -> str:
    return ", ".join(schema.name for schema in services)


def _import(name: str, path: Path, source: bytes) -> ModuleType:
    """Run the source as a module of that name; where it fails, the module that had the name before stays."""
    before = sys.modules.get(name)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        # Compiled from what was read, not imported: cached bytecode cannot tell two edits within one second apart.
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


async def watch(server: Server, folder: PluginFolder) -> None:
    """Change the services of a running server whenever the folder changes, until cancelled."""
    refused: set[str] = set()
    async for changes in _changes(folder):
        for name in changes.added:
            if name in server.registry:
                refused.add(name)
                _log.error("the service %r of %s is taken already; it is left out", name, folder.path)
        gone = [name for name in changes.removed if name not in refused]
        await server.change(gone, [schema for schema in changes.services if schema.name not in refused])
        refused.difference_update(changes.removed)


async def _changes(folder: PluginFolder) -> AsyncIterator[Changes]:
    from watchfiles import awatch

    watching = awatch(folder.path, recursive=False, rust_timeout=_LOOK_AGAIN_MS, yield_on_timeout=True)
    async for _ in watching:
        changes = folder.update()
        if changes.removed or changes.services:
            yield changes

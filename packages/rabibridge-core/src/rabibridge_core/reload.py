"""Services from a folder of Python files, and changing them in place when the files change."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError, RegistrationError
from rabibridge_core.registry import ServiceSchema, services_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_core.server import Server

__all__ = ["PluginFolder", "watch"]

_log = logging.getLogger(__name__)
_LOOK_AGAIN_MS = 2000
"""How often to look at the folder although nothing was heard of it: notice of a change may get lost."""


@dataclass
class _Plugin:
    """One file: what it held when last looked at, and the services of the last version that could be imported."""

    module: str
    digest: bytes = b""
    services: list[ServiceSchema] = field(default_factory=list)


@dataclass
class Changes:
    """What became of a folder's services."""

    removed: list[str] = field(default_factory=list)
    services: list[ServiceSchema] = field(default_factory=list)


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
        self._plugins: dict[Path, _Plugin] = {}
        self._helpers: dict[Path, bytes] = {}
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
        changes = Changes()
        files = {path: path.read_bytes() for path in sorted(self.path.glob("*.py")) if path.is_file()}
        if self._helpers_changed(files):
            for plugin in self._plugins.values():
                plugin.digest = b""
        for path in self._plugins.keys() - files.keys():
            plugin = self._plugins.pop(path)
            sys.modules.pop(plugin.module, None)
            changes.removed += [schema.name for schema in plugin.services]
            _log.info("%s is gone", path)
        for path, source in files.items():
            if not path.name.startswith("_"):
                self._update_file(path, source, changes)
        return changes

    def _helpers_changed(self, files: dict[Path, bytes]) -> bool:
        helpers = {path: _digest(source) for path, source in files.items() if path.name.startswith("_")}
        changed = self._helpers.keys() - helpers.keys() | {
            path for path, digest in helpers.items() if self._helpers.get(path) != digest
        }
        self._helpers = helpers
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) in {str(path) for path in changed}:
                del sys.modules[name]
        return bool(changed)

    def _update_file(self, path: Path, source: bytes, changes: Changes) -> None:
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
            services = services_in(_own_symbols(module))
        except Exception:  # noqa: BLE001 - the file is the user's and may raise anything
            kept = f"; its services stay as they were: {_names(plugin.services)}" if plugin.services else ""
            _log.exception("the plug-in %s cannot be imported%s", path, kept)
            return
        names = {schema.name for schema in services}
        changes.removed += [schema.name for schema in plugin.services if schema.name not in names]
        changes.services += services
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


def _own_symbols(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


async def watch(server: Server, folder: PluginFolder) -> None:
    """Change the services of a running server whenever the folder changes, until cancelled."""
    async for changes in _changes(folder):
        accepted: list[ServiceSchema] = []
        for schema in changes.services:
            known = server.registry.get(schema.name)
            if known is not None and known.func_ptr.__module__ != schema.func_ptr.__module__:
                _log.error("%s", RegistrationError(f"the service {schema.name!r} of {folder.path} is taken already"))
            else:
                accepted.append(schema)
        await server.change(changes.removed, accepted)


async def _changes(folder: PluginFolder) -> AsyncIterator[Changes]:
    from watchfiles import awatch

    watching = awatch(folder.path, recursive=False, rust_timeout=_LOOK_AGAIN_MS, yield_on_timeout=True)
    async for _ in watching:
        changes = folder.update()
        if changes.removed or changes.services:
            yield changes

"""Loads services from a folder of Python files, and finds out how they have changed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rabibridge_core._hosting.file_package import package_of
from rabibridge_core._hosting.plugin_files import PluginFiles
from rabibridge_core._reporting.error_text import message_of
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._reporting.user_frames import frames_of_user
from rabibridge_core._services.offers import services_among
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core._hosting.plugin_files import Unit
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["Changes", "PluginFolder"]

_log = get_logger(__name__)


@dataclass
class _Plugin:
    """One plug-in: its version, the services of the last one that could be imported, and why a later one could not."""

    path: Path
    version: bytes = b""
    services: list[ServiceSchema] = field(default_factory=list)
    error: str = ""


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
    """Imports the files and packages of a folder, except those whose name begins with an underscore or a dot.

    The folder is a package, see :mod:`rabibridge_core._hosting.file_package`. Underscored files are helpers: when one
    changes, all plug-ins are imported again, as is a plug-in that imports another one that has changed.
    """

    def __init__(self, path: Path) -> None:
        """Use the folder ``path``; nothing is imported yet.

        Raises:
            ConfigurationError: there is no such folder.
        """
        if not path.is_dir():
            raise ConfigurationError(f"the plug-in folder {str(path)!r} does not exist or is not a folder")
        self.path = path.resolve()
        self.not_watched = ""
        """Why the folder is not watched any more; ``""``: it is, or nobody asked for it."""
        self._package = package_of(self.path, stable=self.path.name)
        self._files = PluginFiles(self.path, self._package.name)
        self._program_told = False
        self._conflicts: set[tuple[str, Path, Path]] = set()
        self._plugins: dict[str, _Plugin] = {}
        self._init = _Plugin(self.path / "__init__.py")
        self._services: dict[str, tuple[Path, ServiceSchema]] = {}

    def load(self) -> list[ServiceSchema]:
        """Import new and changed files, and return the services of the folder. Files that fail are logged."""
        self.update()
        return [schema for plugin in self._plugins.values() for schema in plugin.services]

    def problems(self) -> list[str]:
        """Return one sentence for each plug-in that could not be imported, and for a folder that is not watched."""
        plugins = [self._init, *self._plugins.values()]
        failed = [f"{plugin.path} cannot be imported: {plugin.error}" for plugin in plugins if plugin.error]
        return failed + ([f"{self.path} is no longer watched: {self.not_watched}"] if self.not_watched else [])

    def update(self) -> Changes:
        """Import new and changed files, unload deleted ones, and return how the services have changed.

        A file that cannot be imported is logged, and keeps the services it had.
        """
        if not self._files.scan():
            return Changes()
        units, versions = self._files.units, self._files.versions()
        for name in self._plugins.keys() - units.keys():
            _log.info(
                "%s was deleted", self._plugins.pop(name).path, extra=log_fields("plugin_file.deleted", plugin=name)
            )
        self._package.begin(versions)
        try:
            if self._update_package(units.get("__init__"), versions):
                for name, unit in units.items():
                    if not unit.is_helper and not self._is_program(unit.path):
                        self._update_plugin(name, unit, versions[name])
        finally:
            self._package.end()
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

    def _is_program(self, path: Path) -> bool:
        """Tell whether a file is the running program, which must not run again as a plug-in."""
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        if not isinstance(file, str) or Path(file).resolve() != path.resolve():
            return False
        if not self._program_told:
            self._program_told = True
            _log.warning(
                "%s is not loaded as a plug-in: it is the running program; use load_services(globals())", path,
                extra=log_fields("plugin_file.skipped", path=path),
            )  # fmt: skip
        return True

    def _resolve_names(self) -> dict[str, tuple[Path, ServiceSchema]]:
        """Return file and schema of each service: of the file that had its name before, else of the first one."""
        services: dict[str, tuple[Path, ServiceSchema]] = {}
        offers = [(plugin.path, schema) for plugin in self._plugins.values() for schema in plugin.services]
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
            _log.error(
                "the service %r of %s is ignored: %s has one of that name; rename one", name, path, owner,
                extra=log_fields("plugin_folder.duplicate_service", service=name, path=path),
            )  # fmt: skip
        self._conflicts = conflicts
        return services

    def _update_package(self, unit: Unit | None, versions: Mapping[str, bytes]) -> bool:
        """Import the ``__init__.py`` of the folder, if there is one, and tell whether plug-ins can be imported."""
        version = b"" if unit is None else versions["__init__"]
        if version != self._init.version:
            self._init.version = version
            self._init.error = self._try("__init__", self._init) if unit is not None else ""
        return not self._init.error or self._package.name in sys.modules

    def _update_plugin(self, name: str, unit: Unit, version: bytes) -> None:
        plugin = self._plugins.setdefault(name, _Plugin(unit.path))
        if version == plugin.version:
            return
        plugin.version, plugin.path = version, unit.path
        plugin.error = self._try(name, plugin)
        if not plugin.error:
            _log.info(
                "loaded %s, services: %s", unit.path, names_of(plugin.services) or "none",
                extra=log_fields("plugin_file.loaded", path=unit.path),
            )  # fmt: skip

    def _try(self, name: str, plugin: _Plugin) -> str:
        """Import a unit and take its services, or log why that is not possible, and return it."""
        try:
            services = services_among(vars(self._package.load(name)))
        except KeyboardInterrupt:
            self._package.put_back(name)
            raise
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything, and the others must still load
            self._package.put_back(name)
            kept = f"; its previous services stay: {names_of(plugin.services)}" if plugin.services else ""
            frames = type(error), error, frames_of_user(error.__traceback__)
            _log.error(
                "cannot import the plug-in %s%s", plugin.path, kept, exc_info=frames,
                extra=log_fields("plugin_file.import_failed", path=plugin.path),
            )  # fmt: skip
            return f"{type(error).__name__}: {message_of(error)}"
        plugin.services = services
        return ""


def names_of(services: list[ServiceSchema]) -> str:
    """Return the names of services, for the log."""
    return ", ".join(schema.name for schema in services)

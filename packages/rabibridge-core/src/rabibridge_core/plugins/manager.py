"""The plug-in manager of a process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pluggy

from rabibridge_core.errors import ConfigurationError, PluginError
from rabibridge_core.plugins.hookspecs import PROJECT, HookSpecs
from rabibridge_core.settings.transports import TransportCatalog, TransportDeclaration, provide_transports

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["PluginManager", "plugin_manager"]

_log = logging.getLogger(__name__)


class PluginManager(pluggy.PluginManager):
    """pluggy's manager, which loads every entry point independently of the others."""

    def __init__(self) -> None:
        """Add the hooks; load no plug-in yet."""
        super().__init__(PROJECT)
        self.add_hookspecs(HookSpecs)
        self.broken: dict[str, PluginError] = {}
        """Plug-ins that could not be loaded, or whose transport could not be declared, by name."""
        self._loaded = False
        self._catalog: TransportCatalog | None = None

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a plug-in, after checking its hooks.

        Raises:
            pluggy.PluginValidationError: it implements a hook that does not exist, or one with arguments that the hook
                does not have. The plug-in is not registered then.
        """
        self._catalog = None
        registered = super().register(plugin, name)
        try:
            self.check_pending()
        except pluggy.PluginValidationError:
            self.unregister(plugin)
            raise
        return registered

    def unregister(self, plugin: object = None, name: str | None = None) -> object:
        """Remove a plug-in; clients and servers that exist keep what they have taken from it."""
        self._catalog = None
        return super().unregister(plugin, name)

    def load(self) -> None:
        """Load the installed plug-ins, once per process.

        A plug-in that cannot be loaded is logged and kept in :attr:`broken`; the others are loaded all the same.
        """
        if self._loaded:
            return
        from importlib.metadata import (
            entry_points,
        )  # importing it takes a fifth of the time that importing rabibridge takes

        self._loaded = True
        for entry in entry_points(group=PROJECT):
            if self.get_plugin(entry.name) is not None or self.is_blocked(entry.name):
                continue
            try:
                self.register(entry.load(), name=entry.name)
            except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and the others must still load
                self._report(entry.name, error)

    def transport(self, scheme: str, settings: Settings, name: str) -> Transport:
        """Return a new transport for the URL scheme.

        Raises:
            ConfigurationError: no plug-in handles the scheme.
        """
        self.load()
        transport: Transport | None = self.hook.rabibridge_transport(scheme=scheme, settings=settings, name=name)
        if transport is None:
            installed = ", ".join(f"{known}://" for known in self.transports().schemes) or "none"
            broken = f"; plug-ins that cannot be used: {', '.join(self.broken)}" if self.broken else ""
            raise ConfigurationError(
                f"no installed transport handles URLs that begin with {scheme}:// (installed: {installed}); install "
                f"the distribution that provides it, or correct the URL{broken}"
            )
        return transport

    def transports(self) -> TransportCatalog:
        """Return what the transports of all plug-ins declare.

        A declaration that cannot be used is logged and kept in :attr:`broken`; the others are returned all the same.
        """
        self.load()
        if self._catalog is None:
            self._catalog = TransportCatalog()
            # Each implementation is called by itself, in the order of registration: pluggy's own call begins with the
            # last one, and ends at the first one that raises.
            for implementation in self.hook.rabibridge_transport_settings.get_hookimpls():
                try:
                    declaration = implementation.function()
                    if not isinstance(declaration, TransportDeclaration):
                        raise TypeError(f"rabibridge_transport_settings returned {declaration!r}")
                    self._catalog.add(declaration)
                except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and the others must still work
                    self._report(implementation.plugin_name, error)
        return self._catalog

    def load_serializers(self) -> None:
        """Add the serializers of plug-ins to the registry; one that cannot be used is logged, the others are added."""
        from rabibridge_core._codec.serializers import registry

        self.load()
        for serializer in [one for some in self.hook.rabibridge_serializers() for one in some]:
            try:
                registry.add(serializer)
            except PluginError as error:
                _log.error("%s", error)

    def _report(self, name: str, cause: Exception) -> None:
        error = PluginError(f"the plug-in {name!r} cannot be used: {type(cause).__name__}: {cause}")
        error.__cause__ = cause
        self.broken[name] = error
        _log.error("%s", error, exc_info=cause)


_manager: PluginManager | None = None


def plugin_manager() -> PluginManager:
    """Return the plug-in manager of this process."""
    global _manager
    if _manager is None:
        _manager = PluginManager()
    return _manager


def _installed_transports() -> TransportCatalog:
    return plugin_manager().transports()


provide_transports(_installed_transports)

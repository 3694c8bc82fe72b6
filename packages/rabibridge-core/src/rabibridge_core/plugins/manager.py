"""The plug-in manager of a process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pluggy

from rabibridge_core.errors import ConfigurationError, PluginError
from rabibridge_core.plugins.hookspecs import PROJECT, HookSpecs

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["PluginManager", "plugin_manager"]

_log = logging.getLogger(__name__)


class PluginManager(pluggy.PluginManager):
    """pluggy's manager, with entry points loaded one apart from the other."""

    def __init__(self) -> None:
        """Know the hooks; load nothing yet."""
        super().__init__(PROJECT)
        self.add_hookspecs(HookSpecs)
        self.broken: dict[str, PluginError] = {}
        """Entry points that could not be loaded, by name."""
        self._loaded = False

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a plug-in; hooks that do not exist and arguments that they do not have are refused here.

        Raises:
            pluggy.PluginValidationError: it has one of those. It is not registered then.
        """
        registered = super().register(plugin, name)
        try:
            self.check_pending()
        except pluggy.PluginValidationError:
            self.unregister(plugin)
            raise
        return registered

    def load(self) -> None:
        """Load the installed plug-ins once; one that fails is logged and kept in :attr:`broken`, the others load."""
        if self._loaded:
            return
        from importlib.metadata import entry_points  # a fifth of the time that importing rabibridge would take

        self._loaded = True
        for entry in entry_points(group=PROJECT):
            if self.get_plugin(entry.name) is not None or self.is_blocked(entry.name):
                continue
            try:
                self.register(entry.load(), name=entry.name)
            except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and the others must still load
                self.broken[entry.name] = _broken(entry.name, error)
                _log.error("%s", self.broken[entry.name], exc_info=error)

    def transport(self, scheme: str, settings: Settings, name: str) -> Transport:
        """Return a new transport for the URL scheme.

        Raises:
            ConfigurationError: no plug-in knows the scheme.
        """
        self.load()
        transport: Transport | None = self.hook.rabibridge_transport(scheme=scheme, settings=settings, name=name)
        if transport is None:
            broken = f"; plug-ins that failed to load: {', '.join(self.broken)}" if self.broken else ""
            raise ConfigurationError(
                f"no transport for URLs that begin with {scheme}://: install the distribution that brings it "
                f"(amqp and amqps: rabibridge-rabbitmq, memory: rabibridge-testing){broken}"
            )
        return transport

    def load_serializers(self) -> None:
        """Make the serializers of plug-ins known by name; one that cannot be used is logged, the others are known."""
        from rabibridge_core._codec.serializers import registry

        self.load()
        for serializer in [one for some in self.hook.rabibridge_serializers() for one in some]:
            try:
                registry.add(serializer)
            except PluginError as error:
                _log.error("%s", error)


def _broken(name: str, cause: Exception) -> PluginError:
    error = PluginError(f"the plug-in {name!r} cannot be used: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


_manager: PluginManager | None = None


def plugin_manager() -> PluginManager:
    """Return the plug-in manager of this process."""
    global _manager
    if _manager is None:
        _manager = PluginManager()
    return _manager

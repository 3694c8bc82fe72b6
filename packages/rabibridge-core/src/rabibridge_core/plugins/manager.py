"""The plug-in manager of a process."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pluggy

from rabibridge_core._reporting.error_text import message_of
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, PluginError
from rabibridge_core.plugins.hookspecs import PROJECT, HookSpecs
from rabibridge_core.settings.transports import TransportCatalog, TransportDeclaration, provide_transports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint

    from pluggy import HookCaller

    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.operations import Operator
    from rabibridge_core.plugins.observers import Subject
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["PluginManager", "plugin_manager"]

_log = get_logger(__name__)
_ObserverT = TypeVar("_ObserverT")
_DISTRIBUTIONS = {
    "amqp": "rabibridge-rabbitmq",
    "amqps": "rabibridge-rabbitmq",
    "redis": "rabibridge-redis",
    "rediss": "rabibridge-redis",
    "memory": "rabibridge-testing",
}
"""The distributions of this project that provide transports, for the error where one is not installed."""
_TRANSPORT = ("state", "connect", "close", "wait_closed", "open_caller", "declare", "serve")
"""What a transport has, whose protocol is not loaded here."""


class PluginManager(pluggy.PluginManager):
    """pluggy's manager, which loads every entry point independently of the others."""

    def __init__(self) -> None:
        """Add the hooks; load no plug-in yet."""
        super().__init__(PROJECT)
        self.add_hookspecs(HookSpecs)
        self.broken: dict[str, PluginError] = {}
        """Plug-ins that could not be loaded, or of which a hook has raised or returned what cannot be used, by name."""
        self._loaded = False
        self._catalog: TransportCatalog | None = None
        self._told: set[str] = set()

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a plug-in, after checking its hooks.

        Raises:
            pluggy.PluginValidationError: it implements a hook that does not exist, or one with arguments that the hook
                does not have, or one as a coroutine or generator function, which would never run. The plug-in is not
                registered then.
        """
        self._changed()
        registered = super().register(plugin, name)
        try:
            self.check_pending()
            self._check_functions(plugin)
        except pluggy.PluginValidationError:
            self.unregister(plugin)
            raise
        return registered

    def _check_functions(self, plugin: object) -> None:
        for caller in self.get_hookcallers(plugin) or ():
            for implementation in caller.get_hookimpls():
                function = implementation.function
                wraps = implementation.hookwrapper or implementation.wrapper
                if implementation.plugin is plugin and (
                    inspect.iscoroutinefunction(function)
                    or inspect.isasyncgenfunction(function)
                    or (inspect.isgeneratorfunction(function) and not wraps)
                ):
                    raise pluggy.PluginValidationError(
                        plugin,
                        f"the hook {caller.name} of plug-in {implementation.plugin_name!r} is a coroutine or generator "
                        "function, and hooks are called, not awaited: make it a plain function",
                    )

    def unregister(self, plugin: object = None, name: str | None = None) -> object:
        """Remove a plug-in; clients and servers that exist keep what they have taken from it."""
        self._changed()
        return super().unregister(plugin, name)

    def _changed(self) -> None:
        self._catalog = None
        self._told.clear()

    def load(self) -> None:
        """Load the installed plug-ins, once per process.

        A plug-in that cannot be loaded, whatever it raises, is logged and kept in :attr:`broken`; the others are loaded
        all the same. Where two distributions have a plug-in of one name, the second one is called ``name
        (distribution)``. A plug-in that was registered before under the name of an installed one takes its place.
        """
        if self._loaded:
            return
        from importlib.metadata import (
            entry_points,
        )  # importing it takes a fifth of the time that importing rabibridge takes

        self._loaded = True
        taken: dict[str, EntryPoint] = {}
        for entry in entry_points(group=PROJECT):
            name = entry.name
            if self.is_blocked(name):
                continue
            if name in taken:
                if _same(entry, taken[name]):
                    continue  # found twice on sys.path
                name = f"{name} ({entry.dist.name if entry.dist is not None else entry.value})"
                _log.warning(
                    "two distributions have a plug-in %r; that of %s is called %r", entry.name, entry.value, name,
                    extra=log_fields("plugin.duplicate", plugin=entry.name),
                )  # fmt: skip
            elif self.get_plugin(name) is not None:
                continue
            taken[name] = entry
            with self._apart(name):
                self.register(entry.load(), name=name)

    def transport(self, scheme: str, settings: Settings, name: str) -> Transport:
        """Return a new transport for the URL scheme.

        Raises:
            ConfigurationError: no plug-in handles the scheme.
        """
        self.load()
        transport: Transport | None = None
        for plugin_name, make in reversed(self._each("rabibridge_transport")):
            with self._apart(plugin_name, ConfigurationError):
                made = make(scheme=scheme, settings=settings, name=name)
                if made is not None and not all(hasattr(type(made), part) for part in _TRANSPORT):
                    raise TypeError(f"rabibridge_transport returned a {type(made).__name__}, which is not a Transport")
                transport = made
            if transport is not None:
                break
        else:
            schemes = self.transports().schemes
            if scheme in schemes and self.broken:
                why = "; ".join(map(str, self.broken.values()))
                raise ConfigurationError(f"the transport for URLs that begin with {scheme}:// cannot be used: {why}")
            installed = ", ".join(f"{known}://" for known in schemes) or "none"
            broken = f"; {'; '.join(map(str, self.broken.values()))}" if self.broken else ""
            raise ConfigurationError(
                f"no installed transport handles URLs that begin with {scheme}:// (installed: {installed}); "
                f"{_advice(scheme)}{broken}"
            )
        return transport

    def operator(self, scheme: str, settings: Settings) -> Operator | None:
        """Return what operators do on the broker of a URL scheme; ``None``: no plug-in offers that.

        Raises:
            ConfigurationError: a plug-in refuses the settings.
        """
        self.load()
        for plugin_name, offer in reversed(self._each("rabibridge_operator")):
            with self._apart(plugin_name, ConfigurationError):
                operator: Operator | None = offer(scheme=scheme, settings=settings)
                if operator is not None:
                    return operator
        return None

    def transports(self) -> TransportCatalog:
        """Return what the transports of all plug-ins declare.

        A declaration that cannot be used is logged and kept in :attr:`broken`; the others are returned all the same.
        """
        self.load()
        if self._catalog is None:
            self._catalog = TransportCatalog()
            for plugin_name, declare in self._each("rabibridge_transport_settings"):
                with self._apart(plugin_name):
                    for declaration in declare():
                        if not isinstance(declaration, TransportDeclaration):
                            raise TypeError(f"rabibridge_transport_settings returned {declaration!r}")
                        self._catalog.add(declaration)
        return self._catalog

    def observers(self, hook: str, kind: type[_ObserverT], subject: Subject) -> list[_ObserverT]:
        """Return what plug-ins observe a client or server with, in the order of registration.

        A plug-in that cannot be used is logged and kept in :attr:`broken`; the others are returned all the same.

        Raises:
            ConfigurationError: a plug-in refuses the settings.
        """
        found: list[_ObserverT] = []
        for plugin_name, offer in self._each(hook):
            with self._apart(plugin_name, ConfigurationError):
                for observer in offer(subject=subject):
                    if not isinstance(observer, kind):
                        raise TypeError(f"{hook} returned a {type(observer).__name__}, which is not a {kind.__name__}")
                    found.append(observer)
        return found

    def load_serializers(self) -> None:
        """Add the serializers of plug-ins to the registry.

        One that cannot be used, and a plug-in whose hook raises, is logged once and kept in :attr:`broken`; the others
        are added.
        """
        from rabibridge_core._codec.serializers import registry

        self.load()
        for plugin_name, offer in self._each("rabibridge_serializers"):
            serializers: list[Serializer] = []
            with self._apart(plugin_name):
                serializers = [one for some in offer() for one in some]
            for serializer in serializers:
                with self._apart(plugin_name):
                    registry.add(serializer)

    @contextmanager
    def _apart(self, name: str, *raised: type[BaseException]) -> Iterator[None]:
        """Log whatever the plug-in of that name raises, and keep it in :attr:`broken`, except ``raised``."""
        passed_on: tuple[type[BaseException], ...] = (KeyboardInterrupt, *raised)
        try:
            yield
        except passed_on:
            raise
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything, and the others must still work
            self._report(name, error)

    def _each(self, hook: str) -> list[tuple[str, HookCaller]]:
        """Return what calls the hook of one plug-in apart from the others, and its name, in the order of registration.

        pluggy's own call begins with the last one, and ends at the first one that raises. Wrappers are called for each.
        """
        found = [one for one in getattr(self.hook, hook).get_hookimpls() if not (one.hookwrapper or one.wrapper)]
        return [
            (one.plugin_name, self.subset_hook_caller(hook, [other.plugin for other in found if other is not one]))
            for one in found
        ]

    def _report(self, name: str, cause: BaseException) -> None:
        error = PluginError(f"the plug-in {name!r} cannot be used: {type(cause).__name__}: {message_of(cause)}")
        error.__cause__ = cause
        self.broken[name] = error
        if str(error) not in self._told:  # hooks are called for each client and server
            self._told.add(str(error))
            _log.error("%s", error, exc_info=cause, extra=log_fields("plugin.failed", plugin=name, error=cause))


def _advice(scheme: str) -> str:
    distribution = _DISTRIBUTIONS.get(scheme.partition("+")[0])
    if distribution is None:
        return "install the distribution that provides it, or correct the URL"
    return f"install the distribution that provides it: pip install {distribution}"


def _same(one: EntryPoint, other: EntryPoint) -> bool:
    return one.value == other.value and getattr(one.dist, "name", None) == getattr(other.dist, "name", None)


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

"""The plug-in hooks, by pluggy: more transports, more serializers, and being told of calls.

A plug-in is a module or object with functions marked ``@hookimpl``. It is found through the entry-point group
``rabibridge``, or registered by hand::

    from rabibridge_core.plugins import hookimpl, plugin_manager

    class CountCalls:
        @hookimpl
        def rabibridge_call_finished(self, func_name, correlation_id, duration, error):
            ...

    plugin_manager().register(CountCalls())
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pluggy

from rabibridge_core.errors import ConfigurationError, PluginError

if TYPE_CHECKING:
    from rabibridge_core.serializers import Serializer
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["CallHooks", "PluginManager", "hookimpl", "hookspec", "plugin_manager"]

_log = logging.getLogger(__name__)
_GROUP = "rabibridge"

hookspec = pluggy.HookspecMarker(_GROUP)
hookimpl = pluggy.HookimplMarker(_GROUP)


class _Hooks:
    """What a plug-in can implement; it may leave out arguments that it does not use."""

    @hookspec(firstresult=True)
    def rabibridge_transport(self, scheme: str, settings: Settings, name: str) -> Transport | None:
        """Make the transport for URLs with this scheme, without connecting.

        Args:
            scheme: such as ``amqp``, in lower case.
            settings: all settings, with the endpoints to connect to.
            name: how to present the connection to the broker.

        Returns:
            The transport, or ``None`` for a scheme that is not this plug-in's.
        """

    @hookspec
    def rabibridge_serializers(self) -> list[Serializer]:  # type: ignore[empty-body]
        """Return serializers to offer by name, beside the built-in ones."""

    @hookspec
    def rabibridge_call_sent(self, func_name: str, correlation_id: str, timeout: float | None) -> None:
        """Hear that a client sends a call.

        Args:
            func_name: the service.
            correlation_id: which call of this client.
            timeout: the time left to it, in seconds; ``None``: no limit.
        """

    @hookspec
    def rabibridge_call_finished(
        self, func_name: str, correlation_id: str, duration: float, error: BaseException | None
    ) -> None:
        """Hear that a call has ended.

        Args:
            func_name: the service.
            correlation_id: which call of this client.
            duration: from sending to the end, in seconds.
            error: what the caller gets instead of a result; ``None`` where there is a result.
        """

    @hookspec
    def rabibridge_request_received(self, service: str, correlation_id: str) -> None:
        """Hear that a worker has a request in hand."""

    @hookspec
    def rabibridge_request_finished(
        self, service: str, correlation_id: str, duration: float, error: BaseException | None
    ) -> None:
        """Hear that a worker has settled a request.

        Args:
            service: the service.
            correlation_id: the caller's name for the call.
            duration: from receiving to settling, in seconds.
            error: what stood in the way of a result; ``None`` where it was sent.
        """


class PluginManager(pluggy.PluginManager):
    """pluggy's manager, with entry points loaded one apart from the other."""

    def __init__(self) -> None:
        """Know the hooks; load nothing yet."""
        super().__init__(_GROUP)
        self.add_hookspecs(_Hooks)
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
        for entry in entry_points(group=_GROUP):
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
        from rabibridge_core.serializers import registry

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


class CallHooks:
    """Tells plug-ins of calls and requests. Whoever asks :attr:`active` first pays nothing where nobody listens.

    A listener that raises is logged and does not touch the call.
    """

    def __init__(self, manager: PluginManager | None = None) -> None:
        """Look at what is registered now: plug-ins that come later are heard by later clients and servers."""
        manager = manager or plugin_manager()
        manager.load()
        self._hook = manager.hook
        listeners = (
            manager.hook.rabibridge_call_sent,
            manager.hook.rabibridge_call_finished,
            manager.hook.rabibridge_request_received,
            manager.hook.rabibridge_request_finished,
        )
        self.active = any(hook.get_hookimpls() for hook in listeners)

    def call_sent(self, func_name: str, correlation_id: bytes, timeout: float | None) -> float:
        """Tell of a call and return when that was, for :meth:`call_finished`."""
        self._tell("rabibridge_call_sent", func_name=func_name, correlation_id=_id(correlation_id), timeout=timeout)
        return perf_counter()

    def call_finished(self, func_name: str, correlation_id: bytes, started: float, error: BaseException | None) -> None:
        """Tell how a call ended."""
        duration = perf_counter() - started
        name = "rabibridge_call_finished"
        self._tell(name, func_name=func_name, correlation_id=_id(correlation_id), duration=duration, error=error)

    def request_received(self, service: str, correlation_id: bytes) -> float:
        """Tell of a request and return when that was, for :meth:`request_finished`."""
        self._tell("rabibridge_request_received", service=service, correlation_id=_id(correlation_id))
        return perf_counter()

    def request_finished(
        self, service: str, correlation_id: bytes, started: float, error: BaseException | None
    ) -> None:
        """Tell how a request was settled."""
        duration = perf_counter() - started
        name = "rabibridge_request_finished"
        self._tell(name, service=service, correlation_id=_id(correlation_id), duration=duration, error=error)

    def _tell(self, hook_name: str, **arguments: Any) -> None:
        try:
            getattr(self._hook, hook_name)(**arguments)
        except Exception:  # noqa: BLE001 - whatever a listener raises, the call goes on
            _log.exception("a plug-in's %s raised", hook_name)


def _id(correlation_id: bytes) -> str:
    return correlation_id.decode("utf-8", "backslashreplace")

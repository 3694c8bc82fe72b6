"""Asks plug-ins for what observes a client or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import plugin_manager
from rabibridge_core.plugins.observers import Subject
from rabibridge_core.transport import BrokerAddress, Located

if TYPE_CHECKING:
    from rabibridge_core.plugins.observers import Role
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["observed_in_children", "observers_of"]


def observers_of(role: Role, name: str, settings: Settings, transport: Transport) -> CallHooks:
    """Return what plug-ins observe a client or server with.

    Args:
        role: which of both it is.
        name: its name.
        settings: its settings.
        transport: what it is connected by.

    Raises:
        ConfigurationError: a plug-in that the settings switch on is not installed, or refuses them.
    """
    endpoint = next(iter(settings.endpoints), None)
    first = None if endpoint is None else BrokerAddress(endpoint.host, endpoint.port)
    located = transport if isinstance(transport, Located) else None  # asked once: that takes microseconds

    def broker() -> BrokerAddress | None:
        return first if located is None else located.broker_address

    hooks = CallHooks(subject=Subject(role, name, settings, broker))
    if settings.opentelemetry and plugin_manager().get_plugin("opentelemetry") is None:
        broken = plugin_manager().broken.get("opentelemetry")
        raise ConfigurationError(
            f"opentelemetry is switched on, and cannot be used: {broken}"
            if broken is not None
            else "opentelemetry is switched on, and rabibridge-telemetry is not installed: install "
            "rabibridge-rabbitmq[opentelemetry], or switch it off"
        )
    return hooks


def observed_in_children(settings: Settings) -> dict[str, Any] | None:
    """Return the settings that observers in child processes need; ``None``: nothing observes there."""
    if not settings.opentelemetry:
        return None
    return {"opentelemetry": True, "baggage": list(settings.baggage)}

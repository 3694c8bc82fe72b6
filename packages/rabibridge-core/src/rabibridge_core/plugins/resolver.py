"""Makes the transport of a client or server: the one that the settings ask for, or the one that a test has set."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core.plugins import plugin_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["TransportFactory", "is_overridden", "override_transport", "resolve_transport"]

TransportFactory: TypeAlias = "Callable[[Settings, str], Transport]"

_overrides: list[TransportFactory] = []


@contextmanager
def override_transport(factory: TransportFactory) -> Iterator[None]:
    """Let ``factory(settings, name)`` make the transport of every client and server created inside the block.

    For tests: whatever the settings say, and even if there are none, no broker is contacted. The override applies to
    the whole process. Blocks may be nested; the innermost one applies.
    """
    _overrides.append(factory)
    try:
        yield
    finally:
        _overrides.remove(factory)


def is_overridden() -> bool:
    """Tell whether an :func:`override_transport` block is open."""
    return bool(_overrides)


def resolve_transport(settings: Settings, name: str) -> Transport:
    """Return a new transport: from the innermost override, else for the scheme of the first endpoint.

    Raises:
        ConfigurationError: no installed plug-in handles the scheme.
    """
    if _overrides:
        return _overrides[-1](settings, name)
    return plugin_manager().transport(settings.endpoints[0].scheme, settings, name)

"""Makes the transport of a client or server: the one that the settings ask for, or the one that a test has set."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins import plugin_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["TransportFactory", "current_override", "override_transport", "resolve_transport"]

TransportFactory: TypeAlias = "Callable[[Settings, str], Transport]"

_overrides: list[tuple[TransportFactory, int]] = []
"""What makes transports, and the id of the process that it belongs to."""
_PROCESS = "OVERRIDDEN_RABIBRIDGE_TRANSPORT"
"""The variable by which processes that are started inside of a block know the process whose transport it is."""


@contextmanager
def override_transport(factory: TransportFactory) -> Iterator[None]:
    """Let ``factory(settings, name)`` make the transport of every client and server that connects inside the block.

    For tests: whatever the settings say, and even if there are none, no broker is contacted. A client or server that
    was made before the block uses it, too, unless it was connected before. The override applies to the whole process.
    Blocks may be nested; the innermost one applies. In processes that are started inside the block, clients and servers
    refuse to connect: what they would reach is not what the test sees.
    """
    override, before = (factory, os.getpid()), os.environ.get(_PROCESS)
    _overrides.append(override)
    os.environ[_PROCESS] = str(os.getpid())
    try:
        yield
    finally:
        _overrides.remove(override)
        if not _overrides:
            os.environ.pop(_PROCESS, None)
            if before is not None:
                os.environ[_PROCESS] = before


def current_override() -> TransportFactory | None:
    """Return what makes transports in the innermost :func:`override_transport` block; ``None`` outside of all."""
    return _overrides[-1][0] if _overrides else None


def _check_process(name: str) -> None:
    """Refuse to connect in a process that was started, or forked, by a test whose broker is in its own memory.

    Raises:
        ConfigurationError: this is such a process.
    """
    owner = str(_overrides[-1][1]) if _overrides else os.environ.get(_PROCESS)
    if owner is not None and owner != str(os.getpid()):
        raise ConfigurationError(
            f"{name} cannot connect in this process: it was started by a test whose broker is in the memory of process "
            f"{owner}, and would reach another one. Make calls from the process of the test, or test with a real broker"
        )


def resolve_transport(settings: Settings, name: str) -> Transport:
    """Return a new transport: from the innermost override, else for the scheme of the first endpoint.

    Raises:
        ConfigurationError: no installed plug-in handles the scheme, or the transport is not in the namespace that the
            settings name; or the process was started by a test inside of :func:`override_transport`.
    """
    _check_process(name)
    if (override := current_override()) is not None:
        transport = override(settings, name)
    else:
        transport = plugin_manager().transport(settings.endpoints[0].scheme, settings, name)
    if settings.namespace and getattr(transport, "namespace", "") != settings.namespace:
        raise ConfigurationError(  # whoever relies on being apart from others must not be among them
            f"{type(transport).__name__} is not in the namespace {settings.namespace!r}, which the settings name: a "
            "transport with namespaces has the attribute 'namespace'"
        )
    return transport

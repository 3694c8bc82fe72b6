"""``memory://name``: in-memory brokers outside tests, found through the entry-point group ``rabibridge``.

All clients and servers in one process that use the same name share a broker. No data leaves the process, and none is
kept when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.plugins import hookimpl
from rabibridge_core.settings import TransportDeclaration
from rabibridge_testing._memory.broker import MemoryBroker

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["SCHEME", "forget_broker", "memory_broker", "rabibridge_transport", "rabibridge_transport_settings"]

SCHEME = "memory"

_MEMORY = TransportDeclaration(name="memory", schemes={SCHEME: 0}, required=())

_brokers: dict[str, MemoryBroker] = {}


def memory_broker(name: str) -> MemoryBroker:
    """Return the broker of ``memory://name`` in this process; it is created on first use.

    The name is a host name: case does not matter.
    """
    name = name.lower()
    broker = _brokers.get(name)
    if broker is None:
        broker = _brokers[name] = MemoryBroker(name)
    return broker


def forget_broker(name: str) -> None:
    """Make ``memory://name`` a new, empty broker; existing connections stay with the old one."""
    _brokers.pop(name.lower(), None)


@hookimpl
def rabibridge_transport_settings() -> TransportDeclaration:
    """Declare ``memory://`` URLs, which name a broker, and may name a user: ``memory://gateway@example``."""
    return _MEMORY


@hookimpl
def rabibridge_transport(scheme: str, settings: Settings, name: str) -> MemoryTransport | None:
    """Return a transport for ``memory://`` URLs; ``None`` for other schemes."""
    if scheme != SCHEME:
        return None
    endpoint = settings.endpoints[0]
    user = endpoint.username if settings.identify else ""
    return memory_broker(endpoint.host).transport(name, user=user, namespace=settings.namespace)

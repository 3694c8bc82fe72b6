"""The plug-in that adds brokers in memory, for URLs such as ``memory://name``.

All clients and servers of one process that name the same broker reach each other. Nothing leaves the process, and
nothing outlives it.
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
    """Let ``memory://name`` stand for a new, empty broker; clients and servers of the old one stay connected to it."""
    _brokers.pop(name.lower(), None)


@hookimpl
def rabibridge_transport_settings() -> TransportDeclaration:
    """Declare ``memory://`` URLs, which name a broker and need nothing else."""
    return _MEMORY


@hookimpl
def rabibridge_transport(scheme: str, settings: Settings, name: str) -> MemoryTransport | None:
    """Make a transport for ``memory://`` URLs."""
    if scheme != SCHEME:
        return None
    return memory_broker(settings.endpoints[0].host).transport(name)

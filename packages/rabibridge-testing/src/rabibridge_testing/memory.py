"""``memory://name``: brokers in memory outside tests, found through the entry-point group ``rabibridge``.

All clients and servers of one process that name the same broker reach each other; nothing leaves the process, and
nothing outlives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.plugins import hookimpl
from rabibridge_testing._memory.broker import MemoryBroker

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["SCHEME", "forget_broker", "memory_broker", "rabibridge_transport"]

SCHEME = "memory"

_brokers: dict[str, MemoryBroker] = {}


def memory_broker(name: str) -> MemoryBroker:
    """Return the broker that ``memory://name`` means in this process, made when first asked for.

    The name is a host name: case does not matter.
    """
    name = name.lower()
    broker = _brokers.get(name)
    if broker is None:
        broker = _brokers[name] = MemoryBroker(name)
    return broker


def forget_broker(name: str) -> None:
    """Let ``memory://name`` mean a new, empty broker from now on; who is connected to the old one stays there."""
    _brokers.pop(name.lower(), None)


@hookimpl
def rabibridge_transport(scheme: str, settings: Settings, name: str) -> MemoryTransport | None:
    """Make a transport for ``memory://`` URLs."""
    if scheme != SCHEME:
        return None
    return memory_broker(settings.endpoints[0].host).transport(name)

"""What a client or server tells of its connection when metrics are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._security.transport import GuardedTransport
from rabibridge_core.transport import ConnectionCounter

if TYPE_CHECKING:
    from rabibridge_core._observability.metrics import Reading
    from rabibridge_core.transport import Transport

__all__ = ["measure_connection"]


def measure_connection(reading: Reading, role: str, transport: Transport) -> None:
    """Add what is known of the connection of a client or server; ``role`` says which it is."""
    reading.gauge("connections", 1, role=role, state=transport.state.value)
    if isinstance(transport, GuardedTransport):
        for reason, count in transport.refusals.items():
            reading.counter("refused_messages", count, role=role, reason=reason)
    if isinstance(transport, ConnectionCounter):
        counts = transport.connection_counts()
        reading.counter("connection_losses", counts.losses, role=role)
        reading.counter("reconnects", counts.reconnects, role=role)
        reading.seconds("connection_blocked", counts.blocked, role=role)

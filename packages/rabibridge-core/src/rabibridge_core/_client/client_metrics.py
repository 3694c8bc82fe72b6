"""What a client tells of itself when metrics are read, apart from its calls, which are counted where they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._observability.metrics import installed_metrics, stop_measuring

if TYPE_CHECKING:
    from rabibridge_core._client.call_table import CallTable
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core._observability.metrics import Reading, Source
    from rabibridge_core.transport import Transport

__all__ = ["measure_client", "stop_measuring"]


def measure_client(transport: Transport, calls: CallTable, preparation: Preparation) -> Source | None:
    """Let metrics ask a client, which keeps what is returned; ``None``: nobody wants them."""
    if (metrics := installed_metrics()) is None:
        return None
    source = _ClientSource(transport, calls, preparation)
    metrics.add(source)
    return source


class _ClientSource:
    """Implements :class:`~rabibridge_core._observability.metrics.Source` for a client."""

    def __init__(self, transport: Transport, calls: CallTable, preparation: Preparation) -> None:
        """Look at the parts of a client, which keeps this as long as it exists."""
        self._transport, self._calls = transport, calls
        self._hedges, self._circuits = preparation.hedges, preparation.circuits

    def measure(self, reading: Reading, /) -> None:
        """Add the present numbers."""
        from rabibridge_core._observability.connection_metrics import measure_connection  # not where metrics are off

        measure_connection(reading, "client", self._transport)
        reading.gauge("client_calls_pending", len(self._calls.pending))
        reading.gauge("client_calls_waiting", len(self._calls.admission.waiting))
        reading.counter("client_stray_replies", self._calls.stray_replies)
        reading.counter("client_hedges", self._hedges.sent)
        reading.counter("client_hedges_won", self._hedges.won)
        reading.counter("client_circuit_refusals", self._circuits.refused)
        for service, _ in self._circuits.not_closed():
            reading.gauge("client_open_circuits", 1, service=service)

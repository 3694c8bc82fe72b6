"""A collector for prometheus_client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._observability.metric_totals import MetricTotals
from rabibridge_telemetry._metrics.catalog import CATALOG
from rabibridge_telemetry._metrics.client_calls import count_calls
from rabibridge_telemetry._metrics.exposition import prometheus_metrics
from rabibridge_telemetry._metrics.families import families_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

__all__ = ["RabiBridgeCollector", "start"]


def start() -> None:
    """Let clients and servers that are made from now on in this process count for metrics. Without effect if they do.

    A collector and a health server do it, too; this is for programs that make clients before those.
    """
    count_calls()


class RabiBridgeCollector:
    """Gives the metrics of all clients and servers of this process to a registry of prometheus_client.

    Make it before the clients and servers: those that were made before count nothing. It is not made for several
    processes behind one port (``PROMETHEUS_MULTIPROC_DIR``); ``rabibridge run --workers --metrics-port`` is.

    Example::

        from prometheus_client import REGISTRY

        REGISTRY.register(RabiBridgeCollector())
    """

    def __init__(self) -> None:
        """Count from now on."""
        self._metrics = count_calls()

    def describe(self) -> Iterator[Metric]:
        """Return the names of all metrics, so that a registry notices others that have them."""
        return prometheus_metrics((family, ()) for family in CATALOG.values())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics with their present values."""
        self._metrics.measure()
        totals = MetricTotals()
        totals.add_store(self._metrics.store)
        return prometheus_metrics(families_of(totals))

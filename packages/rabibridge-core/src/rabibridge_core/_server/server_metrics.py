"""What a server tells of itself when metrics are read, apart from its calls, which are counted where they end."""

from __future__ import annotations

import platform
import time
from functools import cache
from typing import TYPE_CHECKING

from rabibridge_core._observability.metrics import installed_metrics, stop_measuring
from rabibridge_core._server.adaptive_service import adaptive_limit_of
from rabibridge_core._server.worker_status import own_version, resident_memory

if TYPE_CHECKING:
    from rabibridge_core._observability.metrics import Reading, Source
    from rabibridge_core._server.running_services import RunningServices
    from rabibridge_core._server.service import ServiceRunner
    from rabibridge_core._server.worker_status import WorkerReport
    from rabibridge_core.transport import Transport

__all__ = ["measure_server", "stop_measuring"]


def measure_server(transport: Transport, services: RunningServices, report: WorkerReport) -> Source | None:
    """Let metrics ask a server, which keeps what is returned; ``None``: nobody wants them."""
    if (metrics := installed_metrics()) is None:
        return None
    source = _ServerSource(transport, services, report)
    metrics.add(_process_source())
    metrics.add(source)
    return source


class _ServerSource:
    """Implements :class:`~rabibridge_core._observability.metrics.Source` for a server."""

    def __init__(self, transport: Transport, services: RunningServices, report: WorkerReport) -> None:
        """Look at the parts of a server, which keeps this as long as it exists."""
        self._transport, self._services, self._report = transport, services, report

    def measure(self, reading: Reading, /) -> None:
        """Add the present numbers."""
        from rabibridge_core._observability.connection_metrics import measure_connection  # not where metrics are off

        measure_connection(reading, "server", self._transport)
        monitor = self._report.monitor
        if monitor is not None and (lag := monitor.lag) is not None:
            reading.longest("loop_lag", lag)
            reading.longest("loop_lag_max", monitor.longest_lag() or lag)
        for name, runner in list(self._services.runners.items()):
            _measure_service(reading, name, runner)


def _measure_service(reading: Reading, name: str, runner: ServiceRunner) -> None:
    in_hand, schema = runner.active_requests, runner.schema
    reading.gauge("server_calls_in_hand", in_hand, service=name)
    reading.gauge("server_calls_waiting", max(0, len(runner.processor.active) - runner.running), service=name)
    adaptive = adaptive_limit_of(runner)
    reading.gauge("server_concurrency", schema.concurrency if adaptive is None else adaptive.limit, service=name)
    if adaptive is not None:
        reading.gauge("server_concurrency_min", adaptive.minimum, service=name)
        reading.gauge("server_concurrency_max", adaptive.maximum, service=name)
        if adaptive.no_load is not None:
            reading.longest("server_no_load_latency", adaptive.no_load, service=name)
    reading.gauge("server_live_workers", int(runner.live), service=name)
    reading.counter("server_broadcasts", runner.broadcasts.ended, service=name)
    if (rate := runner.processor.rate) is not None:
        reading.gauge("server_rate_limit", rate.share.rate, service=name)
        reading.gauge("server_calls_awaiting_rate", len(rate.waiting), service=name)
        reading.counter("server_calls_over_rate", rate.refused, service=name)
    if (refused := runner.fair_refusals) is not None:
        reading.counter("server_calls_over_share", refused, service=name)
    if (sessions := runner.processor.sessions) is not None:
        reading.counter("server_stream_items", sessions.items_sent, service=name)
    for queue in schema.queues:
        if queue.queue_size is not None:
            reading.longest("server_queue_size", queue.queue_size, service=name, queue=queue.name)


class _ProcessSource:
    """The same for the process of servers, once."""

    def measure(self, reading: Reading, /) -> None:
        """Add the present numbers."""
        reading.gauge("worker_memory", resident_memory() or 0)
        reading.seconds("worker_cpu", time.process_time())
        reading.gauge("worker", 1, version=own_version(), python=platform.python_version())


@cache
def _process_source() -> Source:
    """Return the source for this process, of which there is one."""
    return _ProcessSource()

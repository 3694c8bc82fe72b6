"""Metrics of ``rabibridge run``, which another distribution makes and serves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from rabibridge_core._observability.metrics import installed_metrics
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core._hosting.supervisor.monitor import SupervisorView

__all__ = ["Monitor", "count_in_worker", "open_monitor"]


class Monitor(Protocol):
    """Serves metrics and health beside a supervisor, or beside a server in its process."""

    async def watch(self, supervisor: SupervisorView, /) -> None:
        """Serve beside a supervisor until cancelled."""
        ...

    def beside(self, *parts: Any) -> AbstractAsyncContextManager[int]:
        """Serve beside servers of this event loop; give the port."""
        ...


def open_monitor(host: str, port: int) -> Monitor:
    """Return what serves metrics and health on this address.

    Raises:
        ConfigurationError: the distribution for it is not installed, or the address cannot be listened on.
    """
    monitor: Monitor = _program().open_monitor(host, port)
    return monitor


def count_in_worker() -> None:
    """Called in a worker process: count also the calls that it makes, if its supervisor wants metrics."""
    if installed_metrics() is not None:
        _program().count_calls()


def _program() -> Any:
    try:
        import_module("prometheus_client")
        return import_module("rabibridge_telemetry.health_server.program")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rabibridge_telemetry", "prometheus_client"):
            raise
        raise ConfigurationError(
            "--metrics-port (RABIBRIDGE_METRICS_PORT) needs rabibridge-telemetry[prometheus]: install "
            f"rabibridge-rabbitmq[prometheus] ({error})"
        ) from None

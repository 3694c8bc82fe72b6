"""Metrics for Prometheus, in a registry of prometheus_client.

For programs that expose a registry already. Others find it easier to run ``rabibridge run --metrics-port``, or
:mod:`rabibridge_telemetry.health_server`. It needs ``rabibridge-telemetry[prometheus]``.
"""

from rabibridge_telemetry.prometheus._collector import RabiBridgeCollector, start

__all__ = ["RabiBridgeCollector", "start"]

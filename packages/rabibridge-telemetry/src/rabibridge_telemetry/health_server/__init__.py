"""Metrics and health over HTTP: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for orchestrators.

``rabibridge run --metrics-port 9464`` serves them. A program with a server or a client of its own uses
:func:`health_server`, or mounts a :class:`HealthApp` in its web application. It needs
``rabibridge-telemetry[prometheus]``.
"""

from rabibridge_telemetry.health_server.application import HealthApp
from rabibridge_telemetry.health_server.program import health_server

__all__ = ["HealthApp", "health_server"]

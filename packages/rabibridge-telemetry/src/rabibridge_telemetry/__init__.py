"""Traces and metrics of RabiBridge: plug-ins that give what clients and servers report to OpenTelemetry and Prometheus.

Here belongs what needs a library for telemetry. What clients and servers report, and to whom, is in
``rabibridge_core.plugins``.
"""

__all__: list[str] = []

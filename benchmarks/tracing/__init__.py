"""Measures what traces and metrics by OpenTelemetry cost."""

"""Spans and metrics by OpenTelemetry: its API, so that the program chooses SDK, sampler and exporters.

Here belongs what OpenTelemetry defines: names of attributes, trace context in headers, baggage. It never sets a global
provider, and its only threads wait for the end of a process that serves. ``deferred`` uses the SDK if the program does.
"""

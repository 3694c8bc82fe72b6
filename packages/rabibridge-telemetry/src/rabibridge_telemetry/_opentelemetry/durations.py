"""The metrics ``rpc.client.call.duration`` and ``rpc.server.call.duration``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics

from rabibridge_telemetry._opentelemetry.names import MAX_METHODS, MAX_TYPES, OTHER, Folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider

    from rabibridge_core.transport import BrokerAddress

__all__ = ["BUCKETS", "LOOK_EVERY", "Durations"]

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The bounds that the conventions give, in seconds."""

LOOK_EVERY: Final = 1000
"""How many calls pass until it is looked again whether the program has set a meter provider."""


class Durations:
    """One of the two histograms. The number of its time series is bounded, whatever services and errors there are."""

    def __init__(
        self, name: str, version: str, description: str, found: Callable[[MeterProvider], None] | None = None
    ) -> None:
        """Use the meter provider of the process, whenever it is set; ``found`` is told it then."""
        self._found = found
        meter = metrics.get_meter("rabibridge", version)
        self._histogram = meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=BUCKETS
        )
        self._recorded = False
        self._unlooked = 0
        self._methods = Folded(MAX_METHODS)
        self._types = Folded(MAX_TYPES)
        self._broker: BrokerAddress | None = None
        self._attributes: dict[tuple[str, str], dict[str, Any]] = {}

    @property
    def recorded(self) -> bool:
        """Whether the program has set a meter provider: that of the API alone records nothing."""
        if self._recorded:
            return True
        if self._unlooked:  # it is set before the first call, or hardly ever
            self._unlooked -= 1
            return False
        return self.look()

    def look(self) -> bool:
        """Look now whether the program has set a meter provider."""
        if self._recorded:
            return True
        self._unlooked = LOOK_EVERY
        provider = metrics.get_meter_provider()
        self._recorded = not type(provider).__module__.startswith("opentelemetry.metrics")
        if self._recorded and self._found is not None:
            self._found(provider)
        return self._recorded

    def record(self, seconds: float, method: str, error: str, broker: BrokerAddress | None, context: Context) -> None:
        """Record one call; ``error`` is empty if there is none, ``context`` has the span for exemplars, if any."""
        if broker is not self._broker:
            self._broker = broker
            self._attributes.clear()
        attributes = self._attributes.get((method, error)) or self._add(method, error)
        self._histogram.record(seconds, attributes, context)

    def _add(self, method: str, error: str) -> dict[str, Any]:
        broker = self._broker
        attributes: dict[str, Any] = {
            "rpc.system.name": "rabibridge",
            "rpc.method": OTHER if method == OTHER else self._methods(method),
        }
        if error:
            attributes["error.type"] = self._types(error)
        if broker is not None:
            attributes["server.address"] = broker.host
            if broker.port:
                attributes["server.port"] = broker.port
        if len(self._attributes) < MAX_METHODS:
            self._attributes[method, error] = attributes
        return attributes

"""The settings for traces, metrics and logs."""

from __future__ import annotations

from dataclasses import dataclass

from rabibridge_core.settings.fields import boolean_setting, setting
from rabibridge_core.settings.parsers import parse_baggage
from rabibridge_core.settings.security import SecuritySettings

__all__ = ["ObservabilitySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilitySettings(SecuritySettings):
    """What clients and servers show of what they do."""

    opentelemetry: bool = boolean_setting(
        default=False,
        meaning="whether calls make spans and metrics of OpenTelemetry, which needs "
        "`rabibridge-rabbitmq[opentelemetry]`; see [observability](observability.md)",
    )
    baggage: tuple[str, ...] = setting(
        default=(),
        parse=parse_baggage,
        allowed="names of baggage entries, separated by commas, or none",
        meaning="entries of the W3C baggage that calls pass on and handlers see, with `opentelemetry`; no other one "
        "leaves the process or comes in",
    )

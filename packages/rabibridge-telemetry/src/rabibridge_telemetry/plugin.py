"""The plug-in for OpenTelemetry. It imports the library only for a client or server whose settings switch it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._observability.call_log import add_log_fields
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins import hookimpl

if TYPE_CHECKING:
    from rabibridge_core.plugins import ClientObserver, ServerObserver, Subject

__all__ = ["rabibridge_client_observer", "rabibridge_server_observer"]


@hookimpl
def rabibridge_client_observer(subject: Subject) -> ClientObserver | None:
    """Trace the calls of a client whose settings say ``opentelemetry``."""
    if not subject.settings.opentelemetry:
        return None
    _check()
    from rabibridge_telemetry._opentelemetry.client import TracedCalls
    from rabibridge_telemetry._opentelemetry.log_ids import trace_fields

    add_log_fields(trace_fields)
    return TracedCalls(subject, _version())


@hookimpl
def rabibridge_server_observer(subject: Subject) -> ServerObserver | None:
    """Trace the requests of a server whose settings say ``opentelemetry``."""
    if not subject.settings.opentelemetry:
        return None
    _check()
    from rabibridge_telemetry._opentelemetry.log_ids import trace_fields
    from rabibridge_telemetry._opentelemetry.server import TracedRequests

    add_log_fields(trace_fields)
    return TracedRequests(subject, _version())


def _check() -> None:
    try:
        import opentelemetry.trace  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"opentelemetry is switched on, and cannot be imported: {error}; install "
            "rabibridge-rabbitmq[opentelemetry], or switch it off"
        ) from error


def _version() -> str:
    from importlib.metadata import version

    return version("rabibridge-telemetry")

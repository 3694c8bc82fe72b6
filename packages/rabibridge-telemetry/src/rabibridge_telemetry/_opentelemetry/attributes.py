"""The attributes of the spans of one client or server, prepared once for each service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rabibridge_core.plugins.observers import Shape, Subject
    from rabibridge_core.transport import BrokerAddress

__all__ = ["SpanAttributes"]

_KEPT = 1000
_OPERATIONS: dict[tuple[str, bool], tuple[str, str]] = {
    ("notify", True): ("send", "send"),
    ("notify", False): ("process", "process"),
}


class SpanAttributes:
    """Gives the attributes that are known at the start of a span."""

    def __init__(self, subject: Subject) -> None:
        """Describe what ``subject`` does."""
        self._subject = subject
        scheme = next((endpoint.scheme for endpoint in subject.settings.endpoints), "")
        self._messaging = "rabbitmq" if scheme.startswith("amqp") else ""
        self._broker: BrokerAddress | None = None
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, shape: Shape, service: str) -> dict[str, Any]:
        """Return them, not to be changed."""
        broker = self._subject.broker()
        if broker is not self._broker:
            self._broker = broker
            self._known.clear()
        known = self._known.get((shape, service))
        if known is not None:
            return known
        found: dict[str, Any] = {"rpc.system.name": "rabibridge", "rpc.method": service, "rabibridge.shape": shape}
        if self._messaging:
            found["messaging.system"] = self._messaging
        operation = _OPERATIONS.get((shape, self._subject.role == "client"))
        if operation is not None:
            found["messaging.operation.name"], found["messaging.operation.type"] = operation
        if broker is not None:
            found["server.address"] = broker.host
            if broker.port:
                found["server.port"] = broker.port
            if broker.peer is not None:
                found["network.peer.address"], found["network.peer.port"] = broker.peer
        if len(self._known) < _KEPT:
            self._known[shape, service] = found
        return found

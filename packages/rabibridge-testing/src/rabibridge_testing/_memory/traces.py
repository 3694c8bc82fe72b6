"""The clock of the broker, and the record that it keeps of every request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.naming import service_of_routing_key
from rabibridge_testing._memory.messages import CallTrace
from rabibridge_testing._memory.namespaces import key_without
from rabibridge_testing._memory.routes import Routes

if TYPE_CHECKING:
    from rabibridge_core.transport import Request

__all__ = ["Traces"]


class Traces:
    """The records of the requests that were sent to a broker.

    Attributes:
        traces: the records, the oldest first; none, if it keeps none.
    """

    def __init__(self, *, tracing: bool) -> None:
        """Start without records; ``tracing``: whether to keep any."""
        super().__init__()
        self.traces: list[CallTrace] = []
        self._tracing = tracing
        self._routes = Routes()

    def now(self) -> float:
        """Return the time on the clock of the event loop, as timeouts do: wall clocks may be frozen, and jump."""
        loop = asyncio._get_running_loop() or self._any_loop()
        return monotonic() if loop is None else loop.time()

    def _any_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the event loop of a client or a server, if one is connected."""
        raise NotImplementedError

    def traced(self, trace: CallTrace) -> None:
        """Called with the record of each request that was sent, if the broker keeps any."""

    def _trace(self, request: Request, *, broadcast: bool = False, notification: bool = False) -> CallTrace | None:
        """Record a request, if the broker keeps records."""
        if not self._tracing:
            return None
        ends_at = None if request.timeout is None else self.now() + request.timeout
        trace = CallTrace(
            self._service(request.routing_key),
            request,
            ends_at=ends_at,
            broadcast=broadcast,
            notification=notification,
        )
        self.traces.append(trace)
        self.traced(trace)
        return trace

    def _trace_cancelled(self, correlation_id: bytes) -> None:
        """Record that a call was given up by its caller."""
        for trace in reversed(self.traces):
            if trace.request.correlation_id == correlation_id:
                trace.cancelled_at = self.now()
                return

    def _trace_fed(self, request: Request) -> None:
        """Record a further message of a call."""
        for trace in reversed(self.traces):
            if trace.request.correlation_id == request.correlation_id:
                trace.fed.append(request)
                return

    def _service(self, routing_key: str) -> str:
        queue = self._routes.find(routing_key)
        return service_of_routing_key(key_without(routing_key)) if queue is None else queue.service

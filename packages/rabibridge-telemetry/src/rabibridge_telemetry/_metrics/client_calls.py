"""Counts the calls that clients of this process make.

Names of services come from the program, and in a gateway from its users. A service gets a label of its own when a call
to it has reached its queue: a reply, a refusal, or a timeout that was no fault of the connection. Others, such as names
that do not exist, are counted together, and so are those beyond a limit.
"""

from __future__ import annotations

import threading
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._observability.metric_store import Block
from rabibridge_core._observability.metric_totals import EXEMPLAR_CELLS, OTHER, write_exemplar
from rabibridge_core._observability.metrics import start_metrics
from rabibridge_core.errors import (
    AccessDeniedError,
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    ContentRejectedError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    SerializationError,
    ServiceError,
)
from rabibridge_core.introspection.latency import BUCKETS, OCTAVES, bucket_of
from rabibridge_core.plugins import CallObserver, ClientObserver, hookimpl, plugin_manager

if TYPE_CHECKING:
    from rabibridge_core._observability.metrics import Metrics
    from rabibridge_core.plugins import Shape, Subject

__all__ = ["OUTCOMES", "ClientCalls", "count_calls"]

_OUTCOME_OF: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (QueueFullError, "queue_full"),
    (NoRouteError, "no_route"),
    (AccessDeniedError, "access_denied"),
    (InvalidArgumentsError, "invalid_arguments"),
    (CallTimeoutError, "timeout"),
    (ServiceError, "declared"),
    (RemoteExecutionError, "failed"),
    (ConnectionLostError, "connection_lost"),
    (ContentRejectedError, "rejected"),
    (SerializationError, "serialization"),
    (ConfigurationError, "configuration"),
)
OUTCOMES: Final = ("succeeded", *(outcome for _, outcome in _OUTCOME_OF), "cancelled", "other")
_INDEX: Final = {outcome: index for index, outcome in enumerate(OUTCOMES)}
_REACHED: Final = frozenset(("succeeded", "queue_full", "access_denied", "invalid_arguments", "declared", "failed"))
_REASONS: Final = ("queue_full", "connection_lost")
_SERVICES_MAX: Final = 1000
_NAME_MAX: Final = 200
_PLUGIN: Final = "rabibridge-metrics"
_lock = threading.Lock()


def outcome_of(error: BaseException | None) -> str:
    """Return how a call has ended, as one of :data:`OUTCOMES`."""
    if error is None:
        return "succeeded"
    cls = type(error)  # not isinstance(), which asks the error for its class
    for base, outcome in _OUTCOME_OF:
        if issubclass(cls, base):
            return outcome
    return "other" if issubclass(cls, Exception) else "cancelled"


class ClientCalls:
    """A plug-in that observes all clients: it counts calls where they end."""

    def __init__(self, metrics: Metrics) -> None:
        """Count in ``metrics``."""
        self._metrics = metrics
        self._here = threading.local()
        self._known: set[str] = set()

    @hookimpl
    def rabibridge_client_observer(self, subject: Subject) -> ClientObserver | None:
        """Observe the calls of a client."""
        self._take_traces(subject)
        return _Calls(self)

    @hookimpl
    def rabibridge_server_observer(self, subject: Subject) -> None:
        """Observe nothing: servers count for themselves; but where calls are traced, their traces are exemplars."""
        self._take_traces(subject)

    def _take_traces(self, subject: Subject) -> None:
        if subject.settings.opentelemetry and self._metrics.exemplar is None:
            from rabibridge_telemetry._metrics.trace_ids import current_ids  # it needs the library

            self._metrics.exemplar = current_ids

    def ended(self, service: str, seconds: float, error: BaseException | None, items: int | None) -> None:
        """Count a call that has ended."""
        outcome = outcome_of(error)
        cells = self._cells(service, outcome, error)
        cells.counts[_INDEX[outcome]] += 1
        bucket = bucket_of(seconds)
        cells.times.whole[bucket] += 1
        cells.times.real[BUCKETS] += seconds
        if items:
            cells.items[0] += items
        if (exemplar := self._metrics.exemplar) is not None and (ids := exemplar()) is not None:
            write_exemplar(cells.exemplars, bucket >> 3, seconds, time(), ids)

    def sent_again(self, service: str, reason: int) -> None:
        """Count a call that is sent again; ``reason``: 0, as its queue was full, or 1, as the connection was lost."""
        self._cells(service, _REASONS[reason], None).resends[reason] += 1

    def _cells(self, name: str, outcome: str, error: BaseException | None) -> _ServiceCells:
        try:
            return self._here.services[name]  # type: ignore[no-any-return]
        except (AttributeError, KeyError):
            pass
        if name not in self._known:
            waited = outcome == "timeout" and getattr(error, "executed", False) is None
            if (outcome not in _REACHED and not waited) or len(self._known) >= _SERVICES_MAX or len(name) > _NAME_MAX:
                name = OTHER
            else:
                self._known.add(name)
        services: dict[str, _ServiceCells] = self._here.__dict__.setdefault("services", {})
        found = services.get(name)
        if found is None:
            found = services[name] = _ServiceCells(self._metrics, name)
        return found


class _Calls(ClientObserver):
    """Observes the calls of one client."""

    __slots__ = ("_calls",)

    def __init__(self, calls: ClientCalls) -> None:
        self._calls = calls

    def call_started(self, shape: Shape, service: str) -> CallObserver | None:
        return None if shape == "map" else _Call(self._calls, service)  # its members are calls of their own


class _Call(CallObserver):
    """Observes one call."""

    __slots__ = ("_calls", "_service", "_started")

    def __init__(self, calls: ClientCalls, service: str) -> None:
        self._calls, self._service, self._started = calls, service, monotonic()

    def refused(self, retry_in: float) -> None:
        self._calls.sent_again(self._service, 0)

    def lost(self, error: BaseException) -> None:
        self._calls.sent_again(self._service, 1)

    def ended(self, error: BaseException | None, items: int | None) -> None:
        self._calls.ended(self._service, monotonic() - self._started, error, items)


class _ServiceCells:
    """Where one thread counts the calls of one service."""

    __slots__ = ("counts", "exemplars", "items", "resends", "times")

    def __init__(self, metrics: Metrics, name: str) -> None:
        labels, store = (("service", name),), metrics.store
        self.counts: Any = store.cells(Block("counter", "client_calls", labels, "outcome", OUTCOMES)).whole
        self.times = store.cells(Block("histogram", "client_call_duration", labels), BUCKETS + 1)
        self.items: Any = store.cells(Block("counter", "client_stream_items", labels)).whole
        self.resends: Any = store.cells(Block("counter", "client_resends", labels, "reason", _REASONS)).whole
        self.exemplars = store.cells(Block("exemplars", "client_call_duration", labels), EXEMPLAR_CELLS * OCTAVES)


def count_calls() -> Metrics:
    """Let clients that are made from now on count their calls, and servers too; return the metrics of this process."""
    metrics = start_metrics()
    with _lock:
        manager = plugin_manager()
        if manager.get_plugin(_PLUGIN) is None:
            manager.register(ClientCalls(metrics), name=_PLUGIN)
    return metrics

"""Whether this process counts for metrics, and what is looked at now and then instead of being counted.

Metrics are off until somebody wants them: a supervisor, ``rabibridge run --metrics-port``, or a collector that a
program makes. Clients and servers that are made before that count nothing. Calls are counted where they end, in the
cells of a :class:`~rabibridge_core._observability.metric_store.MetricStore`. Everything else is a :class:`Source`,
which is asked when metrics are read, or once in a second by a worker whose supervisor may have to read them after its
death.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol, TypeAlias
from weakref import WeakKeyDictionary, finalize

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._observability.metric_store import BlockKind, Cells, MetricStore

__all__ = ["Metrics", "Reading", "Source", "installed_metrics", "start_metrics", "stop_measuring"]

_log = get_logger(__name__)
_Series: TypeAlias = "tuple[BlockKind, str, tuple[tuple[str, str], ...]]"


class Source(Protocol):
    """A client, a server, or a part of one, that can be asked for numbers."""

    def measure(self, reading: Reading, /) -> None:
        """Add the present numbers. It may be called in another thread, and must not wait."""
        ...


class Reading:
    """The numbers of one source at one moment."""

    __slots__ = ("counters", "gauges")

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.counters: dict[_Series, float] = {}
        self.gauges: list[tuple[_Series, float]] = []

    def counter(self, name: str, value: int, /, **labels: str) -> None:
        """Tell how often something has happened since the source was made."""
        self.counters[("counter", name, tuple(labels.items()))] = value

    def seconds(self, name: str, value: float, /, **labels: str) -> None:
        """Tell for how many seconds something was so since the source was made."""
        self.counters[("seconds", name, tuple(labels.items()))] = value

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Tell how much there is of something now; sources and processes are added."""
        self.gauges.append((("gauge", name, tuple(labels.items())), value))

    def longest(self, name: str, value: float, /, **labels: str) -> None:
        """Tell how long something takes now; the longest of all sources and processes counts."""
        self.gauges.append((("longest", name, tuple(labels.items())), value))


class Metrics:
    """The metrics of this process."""

    def __init__(self, store: MetricStore) -> None:
        """Count in ``store``."""
        self.store = store
        self.exemplar: Callable[[], tuple[int, int] | None] | None = None
        """Returns the ids of the trace and the span of the present call, if they are recorded; ``None``: no traces."""
        self._lock = threading.Lock()
        self._sources: WeakKeyDictionary[Source, dict[_Series, float]] = WeakKeyDictionary()
        self._shown: set[_Series] = set()
        self._owners: list[int] = []
        self._next_owner = 1
        self._cells_of: dict[_Series, Cells] = {}

    def add(self, source: Source) -> None:
        """Ask this source from now on, as long as it exists."""
        with self._lock:
            self._sources.setdefault(source, {})

    def remove(self, source: Source) -> None:
        """Ask a source for the last time: its counters stay, its gauges go. Without effect if it is not known."""
        with self._lock:
            before = self._sources.pop(source, None)
        if before is not None:
            self._count(source, before, Reading())

    def new_owner(self, owner: object) -> int:
        """Return a number that no other owner of cells has as long as this one exists; it comes again after that."""
        with self._lock:
            if self._owners:
                number = self._owners.pop()
            else:
                number, self._next_owner = self._next_owner, self._next_owner + 1
        finalize(owner, self._owners.append, number)
        return number

    def measure(self) -> None:
        """Ask all sources, and put down what they say."""
        gauges: dict[_Series, float] = defaultdict(float)
        with self._lock:
            sources = list(self._sources.items())
        for source, before in sources:
            reading = Reading()
            self._count(source, before, reading)
            for series, value in reading.gauges:
                gauges[series] = max(gauges[series], value) if series[0] == "longest" else gauges[series] + value
        with self._lock:
            for series in self._shown - gauges.keys():
                self._cells(series).real[0] = 0.0
            for series, value in gauges.items():
                self._cells(series).real[0] = value
            self._shown = set(gauges)

    def _count(self, source: Source, before: dict[_Series, float], reading: Reading) -> None:
        try:
            source.measure(reading)
        except Exception:  # noqa: BLE001 - the numbers of the others are wanted all the same
            _log.exception("%r cannot tell its metrics", source, extra=log_fields("metrics.failed"))
        with self._lock:  # so that one thread at a time writes
            for series, value in reading.counters.items():
                last = before.get(series, 0)
                more = value if value < last else value - last  # it has begun anew
                cells = self._cells(series)  # one that has counted nothing is shown, too: a rate needs a beginning
                if more:
                    before[series] = value
                    (cells.real if series[0] == "seconds" else cells.whole)[0] += more

    def _cells(self, series: _Series) -> Cells:
        found = self._cells_of.get(series)
        if found is None:
            from rabibridge_core._observability.metric_store import Block  # not where metrics are off

            kind, name, labels = series
            found = self._cells_of[series] = self.store.cells(Block(kind, name, labels), measured=True)
        return found


_installed: Metrics | None = None


def installed_metrics() -> Metrics | None:
    """Return the metrics of this process; ``None``: nobody wants them."""
    return _installed


def start_metrics(store: MetricStore | None = None) -> Metrics:
    """Count from now on, in ``store`` or in memory of this process; return what counts already, if something does."""
    global _installed
    if _installed is None:
        from rabibridge_core._observability.metric_store import MetricStore

        _installed = Metrics(MetricStore() if store is None else store)
    return _installed


def stop_measuring(source: Source | None) -> None:
    """Ask a source for the last time, if there is one: its client or server is closed."""
    if source is not None and _installed is not None:
        _installed.remove(source)


def _forget() -> None:
    """Called in a process that was forked from this one: it must not count in the memory of its parent."""
    global _installed
    _installed = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

"""Adds up what the processes of one program have counted, also those that have ended."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rabibridge_core._observability.metric_store import Block, BlockKind, MetricStore

__all__ = ["EXEMPLAR_CELLS", "OTHER", "Exemplar", "MetricTotals", "Series", "read_exemplars", "write_exemplar"]

OTHER: Final = "_OTHER"
"""Stands for all services that are not named in metrics."""
_SERVICES_MAX: Final = 10_000
"""How many services are told apart in the sums."""
EXEMPLAR_CELLS: Final = 6
"""Cells of an exemplar: a number that is odd while it is written, value, time, trace id (two), span id."""
_as_float, _as_whole = struct.Struct("=d"), struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class Series:
    """One metric with one set of labels."""

    kind: BlockKind
    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One call of those that a bucket counts, with the trace that it belongs to.

    Attributes:
        value: how long it took, in seconds.
        time: when it ended, in seconds since 1970.
        trace_id: the trace, as 32 hexadecimal digits.
        span_id: its span there, as 16 of them.
    """

    value: float
    time: float
    trace_id: str
    span_id: str


class MetricTotals:
    """Sums by series. Histograms are lists of their buckets, with the sum at the end.

    Times that grow are whole nanoseconds: sums of floats depend on their order, so that a total could fall by its last
    digit when a worker ends, which Prometheus takes for a counter that has begun anew.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.numbers: dict[Series, float] = {}
        self.histograms: dict[Series, list[float]] = {}
        self.exemplars: dict[Series, dict[int, Exemplar]] = {}
        self._services: set[str] = set()

    def add_store(self, store: MetricStore, *, ended: bool = False) -> None:
        """Add what a process has counted. Of one that has ended, gauges are left out."""
        for block, values in store.read():
            if ended and block.kind in ("gauge", "longest"):
                continue
            self._add_block(block, values)

    def add_totals(self, other: MetricTotals) -> None:
        """Add other sums."""
        for series, value in other.numbers.items():
            self._add_number(series, value)
        for series, values in other.histograms.items():
            self._add_histogram(series, values)
        for series, exemplars in other.exemplars.items():
            self._add_exemplars(series, exemplars)

    def _add_block(self, block: Block, values: Sequence[Any]) -> None:
        if block.kind == "histogram":
            self._add_histogram(self._series(block), [*values[:-1], _nanoseconds(_float_of(values[-1]))])
        elif block.kind == "exemplars":
            self._add_exemplars(self._series(block), dict(read_exemplars(values)))
        else:
            for value, number in zip(block.values, values, strict=False):
                exact = _nanoseconds(number) if block.kind == "seconds" else number
                self._add_number(self._series(block, value), exact)

    def _series(self, block: Block, value: str = "") -> Series:
        labels = block.labels if not block.varies else (*block.labels, (block.varies, value))
        return Series(block.kind, block.name, labels)

    def _add_number(self, series: Series, number: float) -> None:
        series = self._known(series)
        before = self.numbers.get(series, 0)
        self.numbers[series] = max(before, number) if series.kind == "longest" else before + number

    def _add_histogram(self, series: Series, values: Sequence[float]) -> None:
        series = self._known(series)
        before = self.histograms.get(series)
        if before is None or len(before) != len(values):
            self.histograms[series] = list(values)
        else:
            self.histograms[series] = list(map(add, before, values))

    def _add_exemplars(self, series: Series, exemplars: Mapping[int, Exemplar]) -> None:
        kept = self.exemplars.setdefault(self._known(series), {})
        for slot, exemplar in exemplars.items():
            if slot not in kept or kept[slot].time < exemplar.time:
                kept[slot] = exemplar

    def _known(self, series: Series) -> Series:
        """Return the series that a number goes to: there is a limit to how many services are told apart."""
        if not series.labels or series.labels[0][0] != "service":
            return series
        service = series.labels[0][1]
        if service in self._services:
            return series
        if len(self._services) < _SERVICES_MAX or service == OTHER:
            self._services.add(service)
            return series
        return Series(series.kind, series.name, (("service", OTHER), *series.labels[1:]))


def _float_of(whole: int) -> float:
    value: float = _as_float.unpack(_as_whole.pack(whole))[0]
    return value


def write_exemplar(cells: Any, slot: int, value: float, time: float, ids: tuple[int, int]) -> None:
    """Keep an exemplar in the cells of a block of this kind.

    Args:
        cells: the :class:`~rabibridge_core._observability.metric_store.Cells`.
        slot: which one it replaces.
        value: how long the call took, in seconds.
        time: when it ended, in seconds since 1970.
        ids: of the trace and of the span.
    """
    at = EXEMPLAR_CELLS * slot
    whole, real = cells.whole, cells.real
    turn = (whole[at] + 1) | 1
    whole[at] = turn
    real[at + 1], real[at + 2] = value, time
    trace_id, span_id = ids
    whole[at + 3], whole[at + 4], whole[at + 5] = trace_id >> 64, trace_id & 0xFFFF_FFFF_FFFF_FFFF, span_id
    whole[at] = turn + 1


def read_exemplars(values: Sequence[int]) -> Iterator[tuple[int, Exemplar]]:
    """Return the exemplars in the cells of a block, except one that is being written."""
    for at in range(0, len(values) - EXEMPLAR_CELLS + 1, EXEMPLAR_CELLS):
        turn, value, time, high, low, span = values[at : at + EXEMPLAR_CELLS]
        if turn and not turn & 1:
            yield (
                at // EXEMPLAR_CELLS,
                Exemplar(_float_of(value), _float_of(time), _hex(high) + _hex(low), _hex(span)),
            )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _hex(whole: int) -> str:
    return f"{whole:016x}"

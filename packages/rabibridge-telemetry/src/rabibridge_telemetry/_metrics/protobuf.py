"""Writes families in the format of ``io.prometheus.client`` in protocol buffers, with native histograms.

prometheus_client writes text only, and text has no native histograms: Prometheus takes them in this format, which it
asks for if it is configured to store them. It consists of a dozen fields, for which the runtime of protocol buffers and
generated code would be a large dependency.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from rabibridge_telemetry._metrics.buckets import NATIVE_SCHEMA
from rabibridge_telemetry._metrics.families import HistogramValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rabibridge_core._observability.metric_totals import Exemplar
    from rabibridge_telemetry._metrics.catalog import Family
    from rabibridge_telemetry._metrics.families import Point

__all__ = ["PROTOBUF_TYPE", "write_protobuf"]

PROTOBUF_TYPE: Final = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
_TYPES: Final = {"counter": 0, "gauge": 1, "info": 1, "histogram": 4}
_ZERO_THRESHOLD: Final = 2.0**-128  # what client libraries use
_double = struct.Struct("<d")


def write_protobuf(families: Iterable[tuple[Family, Iterable[Point]]]) -> bytes:
    """Return the families as messages, each with its length before it."""
    out = bytearray()
    for family, points in families:
        message = _text(1, family.sample) + _text(2, family.meaning) + _number(3, _TYPES[family.type])
        message += b"".join(_message(4, _metric(family, point)) for point in points)
        out += _varint(len(message)) + message
    return bytes(out)


def _metric(family: Family, point: Point) -> bytes:
    labels = b"".join(_label(1, name, value) for name, value in point.labels.items())
    if isinstance(point.value, HistogramValue):
        return labels + _message(7, _histogram(point.value))
    return labels + _message(3 if family.type == "counter" else 2, _real(1, point.value))


def _histogram(value: HistogramValue) -> bytes:
    out = bytearray(_number(1, value.count) + _real(2, value.total))
    for slot, (bound, count) in enumerate(value.classic):
        bucket = _number(1, count) + _real(2, bound)
        if (exemplar := value.exemplars.get(slot)) is not None:
            bucket += _message(3, _exemplar(exemplar))
        out += _message(3, bucket)
    out += _number(5, _zigzag(NATIVE_SCHEMA)) + _real(6, _ZERO_THRESHOLD) + _number(7, 0)
    return bytes(out + _spans(value.native))


def _spans(native: Mapping[int, int]) -> bytes:
    """Return spans of buckets that follow each other, and the difference of each count to the one before it."""
    spans: list[list[int]] = []
    deltas = bytearray()
    next_index = before = 0
    for index, count in native.items():
        if not spans or index != next_index:
            spans.append([index - next_index, 0])
        spans[-1][1] += 1
        deltas += _number(13, _zigzag(count - before))
        next_index, before = index + 1, count
    if not spans:
        spans = [[0, 0]]  # which tells a native histogram without values from a classic one
    return b"".join(_message(12, _number(1, _zigzag(offset)) + _number(2, length)) for offset, length in spans) + deltas


def _exemplar(exemplar: Exemplar) -> bytes:
    labels = _label(1, "trace_id", exemplar.trace_id) + _label(1, "span_id", exemplar.span_id)
    whole = int(exemplar.time)
    timestamp = _number(1, whole) + _number(2, int((exemplar.time - whole) * 1e9))
    return labels + _real(2, exemplar.value) + _message(3, timestamp)


def _label(field: int, name: str, value: str) -> bytes:
    return _message(field, _text(1, name) + _text(2, value))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _real(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + _double.pack(number)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8", "replace"))

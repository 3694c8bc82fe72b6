"""Turns the buckets that RabiBridge counts durations in into those of classic and of native histograms.

It counts in eighths of a power of two. Classic buckets are whole powers of two, so that nothing is estimated: a bound
is exact to a microsecond. Native histograms have eight buckets between one power of two and the next, too, but of equal
ratio, not of equal width. A call is placed by the middle of the bucket that it was counted in, always in the same one,
so that native buckets never fall; a quantile read from them is at most an eighth off.
"""

from __future__ import annotations

from itertools import accumulate
from math import ceil, inf, log2
from typing import TYPE_CHECKING, Final

from rabibridge_core.introspection.latency import BUCKETS, upper_bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._observability.metric_totals import Exemplar

__all__ = ["BOUNDS", "NATIVE_SCHEMA", "by_slot", "classic_buckets", "classic_slot", "native_buckets"]

NATIVE_SCHEMA: Final = 3
_FIRST, _LAST = -13, 6
BOUNDS: Final = (*(2.0**exponent for exponent in range(_FIRST, _LAST + 1)), inf)
"""The upper bounds of the classic buckets: 0.12 ms to 64 s, and infinity."""
_FIRST_SLOT: Final = next(bucket for bucket in range(BUCKETS) if upper_bound(bucket) > 2.0**_FIRST) // 8 - 1
_LOWER = (0.0, *(upper_bound(bucket) for bucket in range(BUCKETS - 1)))
_NATIVE = tuple(ceil(2**NATIVE_SCHEMA * log2((lower + upper_bound(bucket)) / 2)) for bucket, lower in enumerate(_LOWER))


def classic_slot(bucket: int) -> int:
    """Return the number of the classic bucket that a bucket belongs to."""
    return min(max((bucket >> 3) - _FIRST_SLOT, 0), len(BOUNDS) - 1)


def classic_buckets(counts: Sequence[float]) -> list[tuple[float, int]]:
    """Return the cumulative counts with their upper bounds."""
    slots = [0] * len(BOUNDS)
    for bucket, count in enumerate(counts):
        if count:
            slots[classic_slot(bucket)] += int(count)
    return list(zip(BOUNDS, accumulate(slots), strict=True))


def native_buckets(counts: Sequence[float]) -> dict[int, int]:
    """Return the counts by the index of the native bucket; index ``i`` holds what is at most ``2 ** (i / 8)``."""
    found: dict[int, int] = {}
    for bucket, count in enumerate(counts):
        if count:
            index = _NATIVE[bucket]
            found[index] = found.get(index, 0) + int(count)
    return dict(sorted(found.items()))


def by_slot(kept: Mapping[int, Exemplar]) -> dict[int, Exemplar]:
    """Return the exemplars of powers of two as those of classic buckets; the latest where one holds several."""
    found: dict[int, Exemplar] = {}
    for octave, exemplar in kept.items():
        slot = classic_slot(octave << 3)
        if slot not in found or found[slot].time < exemplar.time:
            found[slot] = exemplar
    return found

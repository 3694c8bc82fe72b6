"""How long calls took: a histogram of fixed buckets, which can be merged over workers and subtracted over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import frexp, inf, ldexp
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BUCKETS", "OCTAVES", "OFFSET", "SHORTEST", "Latency", "bucket_of", "upper_bound"]

SHORTEST = 2.0**-20
"""Added to each duration before it is counted, in seconds (about a microsecond), so that none is 0."""
_LOWEST, _HIGHEST = -19, 24
"""Exponents of the shortest and of the longest duration that has a bucket of its own: a microsecond to 194 days."""
OFFSET = -8 * _LOWEST - 8
"""What makes the number of the first bucket 0."""
OCTAVES = _HIGHEST - _LOWEST + 1
"""How many powers of two they cover."""
BUCKETS = 8 * OCTAVES
"""How many buckets there are: 8 of equal width between one power of two and the next."""


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket that counts this duration: 0 to ``BUCKETS - 1``."""
    mantissa, exponent = frexp(seconds + SHORTEST)
    return min(max((exponent << 3) + int(mantissa * 16.0) + OFFSET, 0), BUCKETS - 1)


def upper_bound(bucket: int) -> float:
    """Return the longest duration that a bucket counts, in seconds."""
    exponent, step = divmod(bucket, 8)
    return ldexp((step + 9) / 16.0, exponent + _LOWEST) - SHORTEST


@dataclass(frozen=True, slots=True)
class Latency:
    """How long calls took, from their arrival at the worker to their answer, in seconds.

    The time in the queue of the broker is not included: a worker does not know it. A value read from it is at most an
    eighth too high, since buckets are an eighth of a power of two wide.

    Attributes:
        buckets: the number of calls by number of the bucket; :func:`upper_bound` gives the bound of each. Buckets
            without calls are missing.
        total: the sum of all durations, in seconds.
    """

    buckets: Mapping[int, int] = field(default_factory=dict)
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many calls are counted."""
        return sum(self.buckets.values())

    @property
    def mean(self) -> float | None:
        """The mean, in seconds; ``None``: there was no call."""
        count = self.count
        return self.total / count if count else None

    @property
    def p50(self) -> float | None:
        """The median, in seconds; ``None``: there was no call."""
        return self.percentile(50)

    @property
    def p99(self) -> float | None:
        """The time that 99 % of the calls did not exceed, in seconds; ``None``: there was no call."""
        return self.percentile(99)

    def percentile(self, percent: float) -> float | None:
        """Return the time that so many percent of the calls did not exceed, in seconds; ``None``: there was no call."""
        rank = self.count * percent / 100.0
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return upper_bound(bucket)
        return None

    def __add__(self, other: Latency) -> Latency:
        """Merge two histograms, as of two workers."""
        return Latency.merged((self, other))

    def __sub__(self, before: Latency) -> Latency:
        """Return what was added since an earlier histogram of the same worker.

        If the worker has started anew meanwhile, its counts are smaller than before: then it is this histogram.
        """
        buckets = {bucket: count - before.buckets.get(bucket, 0) for bucket, count in self.buckets.items()}
        if any(count < 0 for count in buckets.values()) or not before.buckets.keys() <= self.buckets.keys():
            return self
        return Latency(
            {bucket: count for bucket, count in buckets.items() if count}, max(0.0, self.total - before.total)
        )

    @staticmethod
    def merged(all_of_them: Iterable[Latency]) -> Latency:
        """Merge any number of histograms."""
        buckets: dict[int, int] = {}
        total = 0.0
        for one in all_of_them:
            total += one.total
            for bucket, count in one.buckets.items():
                buckets[bucket] = buckets.get(bucket, 0) + count
        return Latency(buckets, total)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON: ``buckets`` (a list of pairs), ``total``, ``count``, ``mean`` and percentiles."""
        return {
            "buckets": [[bucket, self.buckets[bucket]] for bucket in sorted(self.buckets)],
            "total": self.total,
            "count": self.count,
            "mean": self.mean,
            **{f"p{percent:g}": self.percentile(percent) for percent in (50, 90, 99, 99.9)},
        }

    @classmethod
    def from_json(cls, value: object) -> Latency:
        """Make it again from JSON; what cannot be read is left out."""
        if not isinstance(value, Mapping):
            return cls()
        buckets: dict[int, int] = {}
        pairs = value.get("buckets")
        for pair in pairs if isinstance(pairs, list) else ():
            if isinstance(pair, list) and len(pair) == 2 and all(type(part) is int for part in pair):
                bucket, count = pair
                if 0 <= bucket < BUCKETS and 0 < count < 2**63:
                    buckets[bucket] = count
        total = value.get("total")
        usable = isinstance(total, int | float) and 0 <= total < inf
        return cls(buckets, float(total) if usable and total is not None else 0.0)

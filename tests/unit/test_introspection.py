"""The values that introspection returns: histograms, counts, and answers of workers, which are not trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rabibridge_core.introspection import CallCounts, DeafService, FailureRecord, Latency, Workers, WorkerStatus
from rabibridge_core.introspection.latency import BUCKETS, bucket_of, upper_bound

if TYPE_CHECKING:
    from collections.abc import Callable

DURATIONS = st.floats(0, 10_000_000)


def _histogram(durations: list[float]) -> Latency:
    buckets: dict[int, int] = {}
    for seconds in durations:
        buckets[bucket_of(seconds)] = buckets.get(bucket_of(seconds), 0) + 1
    return Latency(buckets, sum(durations))


@given(DURATIONS)
def test_a_bucket_tells_a_duration_to_an_eighth(seconds: float) -> None:
    bound = upper_bound(bucket_of(seconds))
    assert seconds <= bound <= seconds * 1.125 + 2e-6


@given(DURATIONS, DURATIONS)
def test_buckets_keep_the_order(one: float, other: float) -> None:
    assert (bucket_of(one) <= bucket_of(other)) == (one <= other) or bucket_of(one) == bucket_of(other)
    assert 0 <= bucket_of(one) < BUCKETS


@pytest.mark.parametrize("seconds", [0.0, 1e-12, 1e-6, 2.0**23, 2.0**24 - 1, 2.0**30])
def test_extreme_durations_have_a_bucket(seconds: float) -> None:
    assert 0 <= bucket_of(seconds) < BUCKETS


@given(st.lists(DURATIONS, max_size=50), st.lists(DURATIONS, max_size=50))
def test_what_is_added_can_be_subtracted(before: list[float], after: list[float]) -> None:
    first, whole = _histogram(before), _histogram(before + after)
    assert (first + _histogram(after)).buckets == whole.buckets
    assert (whole - first).buckets == _histogram(after).buckets
    assert Latency.from_json(json.loads(json.dumps(whole.to_json()))).buckets == whole.buckets


@given(st.lists(DURATIONS, min_size=1, max_size=50))
def test_percentiles_are_not_below_what_they_stand_for(durations: list[float]) -> None:
    found = _histogram(durations)
    exact = sorted(durations)[-(-len(durations) * 50 // 100) - 1]
    assert found.p50 is not None
    assert exact <= found.p50 <= exact * 1.125 + 2e-6
    assert found.percentile(100) == upper_bound(bucket_of(max(durations)))


def test_a_histogram_without_calls() -> None:
    nothing = Latency()
    assert (nothing.count, nothing.mean, nothing.p50, nothing.p99) == (0, None, None, None)


def test_a_worker_that_started_anew_is_not_subtracted_from() -> None:
    before, anew = _histogram([0.1] * 5), _histogram([0.1, 0.2])
    assert anew - before is anew
    assert CallCounts(succeeded=2) - CallCounts(succeeded=5) == CallCounts(succeeded=2)


def test_counts() -> None:
    one, other = CallCounts(succeeded=3, failed=1, broadcasts=7), CallCounts(succeeded=1, expired=2, cancelled=4)
    both = one + other
    assert (both.calls, both.errors, both.broadcasts) == (11, 3, 7)
    assert both - one == other
    assert CallCounts.from_json(both.to_json()) == both


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    *("id", "name", "host", "pid", "uptime", "ready", "reasons", "loop_lag", "memory", "services", "counts", "latency"),
    *("recent", "failures", "buckets", "total", "kind", "live", "in_hand", "rate", "succeeded", "message", "count"),
]
FORGED: Any = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=12),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(FORGED)
@pytest.mark.parametrize(
    "read",
    [Latency.from_json, CallCounts.from_json, FailureRecord.from_json, WorkerStatus.from_json],
    ids=lambda read: read.__qualname__,
)
def test_whatever_a_worker_answers_it_is_read_without_harm(read: Callable[[object], Any], value: object) -> None:
    found = read(value)
    if found is not None:
        json.dumps(found.to_json(), allow_nan=False)


def test_a_status_survives_json() -> None:
    status = WorkerStatus(id="x", name="w", host="h", pid=1, ready=True, reasons=("a", "b"), loop_lag=0.5, memory=7)
    assert WorkerStatus.from_json(json.loads(json.dumps(status.to_json()))) == status
    assert WorkerStatus.from_json({"id": "x"}) is None


def test_workers_are_a_sequence_that_knows_whether_it_is_complete() -> None:
    status = WorkerStatus(id="x", name="w")
    found = Workers((status,), (), 0.5)
    assert (list(found), len(found), found[0], found.complete) == ([status], 1, status, True)
    deaf = Workers((status,), (DeafService("add", consumers=3, answered=1, waiting=5),), 0.5)
    assert (deaf.complete, deaf.deaf[0].silent, deaf.to_json()["deaf"][0]["silent"]) == (False, 2, 2)

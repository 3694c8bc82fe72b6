"""The memory that metrics are counted in, and the sums over processes."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._hosting.supervisor.worker_stores import WorkerStores
from rabibridge_core._observability.metric_store import CAPACITY, Block, MetricStore, shared_memory_file
from rabibridge_core._observability.metric_totals import (
    EXEMPLAR_CELLS,
    OTHER,
    MetricTotals,
    Series,
    read_exemplars,
    write_exemplar,
)
from rabibridge_core._observability.metrics import Metrics, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[MetricStore, MetricStore]]:
    """Two views of one memory, as a worker and its supervisor have them."""
    descriptor = shared_memory_file()
    pair = MetricStore.opened(os.dup(descriptor)), MetricStore.opened(descriptor)
    yield pair
    gc.collect()


def _calls(service: str = "add") -> Block:
    return Block("counter", "server_calls", (("service", service),), "outcome", ("succeeded", "failed"))


def _numbers(*stores: MetricStore) -> dict[Series, float]:
    totals = MetricTotals()
    for store in stores:
        totals.add_store(store)
    return totals.numbers


def _of(service: str, outcome: str) -> Series:
    return Series("counter", "server_calls", (("service", service), ("outcome", outcome)))


def test_what_one_process_counts_another_one_reads(pair: tuple[MetricStore, MetricStore]) -> None:
    worker, supervisor = pair
    assert _numbers(supervisor) == {}
    cells = worker.cells(_calls())
    cells.whole[0] += 3
    assert _numbers(supervisor)[_of("add", "succeeded")] == 3
    worker.cells(_calls()).whole[0] += 1
    worker.cells(_calls("sub")).whole[1] += 7
    assert _numbers(supervisor) == {
        _of("add", "succeeded"): 4, _of("add", "failed"): 0, _of("sub", "succeeded"): 0, _of("sub", "failed"): 7,
    }  # fmt: skip


def test_threads_and_owners_have_cells_of_their_own_and_numbers_of_threads_come_again() -> None:
    store = MetricStore()
    store.cells(_calls()).whole[0] += 1
    for _ in range(50):
        thread = threading.Thread(target=lambda: store.cells(_calls()).whole.__setitem__(0, 5))
        thread.start()
        thread.join()
    store.cells(_calls(), owner=2).whole[0] += 10
    assert _numbers(store)[_of("add", "succeeded")] == 16
    assert len(list(store.read())) == 3


def test_a_block_that_this_version_does_not_know_is_left_out(pair: tuple[MetricStore, MetricStore]) -> None:
    worker, supervisor = pair
    worker.cells(Block("spiral", "x"))  # type: ignore[arg-type] # of a newer version
    worker.cells(_calls()).whole[0] += 1
    assert _numbers(supervisor)[_of("add", "succeeded")] == 1


def test_memory_that_is_full_is_said_once_and_counting_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    store = MetricStore(bytearray(2048))
    for number in range(100):
        store.cells(_calls(f"service{number}")).whole[0] += 1
    assert caplog.text.count("there is no room for more metrics") == 1
    assert 0 < sum(_numbers(store).values()) < 100


def test_memory_with_another_layout_is_not_read() -> None:
    memory = bytearray(2048)
    memory[0] = 1
    store = MetricStore(memory)
    assert not store.usable
    assert _numbers(store) == {}


def test_what_ended_workers_have_counted_stays_and_their_gauges_go() -> None:
    stores = WorkerStores()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(20):
        worker = stores.new()
        worker.close_descriptor()
        worker.store.cells(_calls()).whole[0] += 5
        worker.store.cells(Block("gauge", "loop_lag")).real[0] = 0.1
        worker.store.cells(Block("seconds", "worker_cpu")).real[0] = 0.1
        assert Series("gauge", "loop_lag") in stores.totals().numbers
        before = stores.totals().numbers[Series("seconds", "worker_cpu")]
        worker.ended()
        worker.ended()
        assert stores.totals().numbers[Series("seconds", "worker_cpu")] == before
    assert stores.totals().numbers == {
        _of("add", "succeeded"): 100, _of("add", "failed"): 0, Series("seconds", "worker_cpu"): 2_000_000_000,
    }  # fmt: skip
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


def test_services_beyond_a_limit_are_added_up_together() -> None:
    store = MetricStore()
    for number in range(10_100):
        store.cells(Block("counter", "client_calls", (("service", f"s{number}"),))).whole[0] += 1
    numbers = _numbers(store)
    assert numbers[Series("counter", "client_calls", (("service", OTHER),))] == 100
    assert len(numbers) == 10_001
    assert sum(numbers.values()) == 10_100


def test_exemplars_are_read_whole_or_not_at_all() -> None:
    store = MetricStore()
    cells = store.cells(Block("exemplars", "server_call_duration"), 3 * EXEMPLAR_CELLS)
    write_exemplar(cells, 1, 0.25, 1000.5, (0xABC << 64 | 1, 2))
    ((slot, exemplar),) = read_exemplars(cells.whole.tolist())
    assert (slot, exemplar.value, exemplar.time) == (1, 0.25, 1000.5)
    assert exemplar.trace_id == "0000000000000abc0000000000000001"
    assert exemplar.span_id == "0000000000000002"
    cells.whole[EXEMPLAR_CELLS] += 1  # it is being written
    assert not list(read_exemplars(cells.whole.tolist()))


class _Source:
    def __init__(self) -> None:
        self.lost, self.here = 0, 1.0

    def measure(self, reading: Reading, /) -> None:
        reading.counter("connection_losses", self.lost, role="client")
        reading.gauge("client_calls_pending", self.here)
        reading.longest("loop_lag", self.here)


def test_sources_are_added_and_those_that_are_gone_leave_their_counters() -> None:
    metrics = Metrics(MetricStore())
    first, second = _Source(), _Source()
    metrics.add(first)
    metrics.add(second)
    first.lost, second.lost, second.here = 2, 3, 4.0
    losses = Series("counter", "connection_losses", (("role", "client"),))
    for _ in range(2):
        metrics.measure()
        numbers = _numbers(metrics.store)
        assert numbers[losses] == 5
        assert numbers[Series("gauge", "client_calls_pending")] == 5.0
        assert numbers[Series("longest", "loop_lag")] == 4.0
    second.lost = 4
    metrics.remove(second)
    del first
    gc.collect()
    metrics.measure()
    assert _numbers(metrics.store) == {
        losses: 6, Series("gauge", "client_calls_pending"): 0.0, Series("longest", "loop_lag"): 0.0,
    }  # fmt: skip


def test_the_memory_takes_room_only_where_it_is_used(pair: tuple[MetricStore, MetricStore]) -> None:
    worker, _ = pair
    for number in range(100):
        worker.cells(_calls(f"s{number}"))
    assert CAPACITY == 64 * 2**20
    if os.path.exists("/proc/self/smaps_rollup"):
        with open("/proc/self/smaps") as file:
            sizes = [line for line in file.read().split("rabibridge-metrics")[1].splitlines() if line.startswith("Rss")]
        assert int(sizes[0].split()[1]) < 1024  # KiB

"""Which request starts next: the limit holds, some slots stay free for more important ones, and no class starves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._server.class_limiter import SHARE, ClassedRequest, ClassLimiter
from rabibridge_core._services.classes import slots_of

if TYPE_CHECKING:
    from rabibridge_core._server.active_request import ActiveRequest


class _Worker:
    """Requests of some classes that run, wait and end as a test says."""

    def __init__(self, limit: int, classes: int) -> None:
        self.limiter = ClassLimiter(limit, classes, self._start)
        self.running: list[int] = []
        self.started: list[int] = []

    def _start(self, active: ActiveRequest) -> None:
        assert isinstance(active, ClassedRequest)
        self._begin(active.class_index)

    def _begin(self, index: int) -> None:
        self.running.append(index)
        self.started.append(index)

    def arrive(self, index: int) -> None:
        request = ClassedRequest("work", cast("Any", None))
        request.class_index = index
        if self.limiter.acquire_for(index):
            self._begin(index)
        else:
            self.limiter.enqueue(request)

    def end(self, place: int = 0) -> None:
        if self.running:
            self.running.pop(place % len(self.running))
            self.limiter.release()

    @property
    def waiting(self) -> list[int]:
        return [len(waiting) for waiting in self.limiter.waiting]


@given(
    st.integers(1, 20),
    st.integers(1, 4),
    st.lists(st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 19))), max_size=200),
)
def test_the_limit_holds_and_whatever_can_start_has_started(limit: int, classes: int, steps: list[Any]) -> None:
    worker = _Worker(limit, classes)
    for step in steps:
        if isinstance(step, tuple):
            worker.end(*step)
        else:
            worker.arrive(step % classes)
        assert len(worker.running) <= limit
        if any(worker.waiting):
            first = next(index for index, count in enumerate(worker.waiting) if count)
            assert len(worker.running) >= slots_of(first, limit)
    while worker.running:
        worker.end()
    assert not any(worker.waiting)
    assert len(worker.started) == sum(not isinstance(step, tuple) for step in steps)


@given(st.integers(1, 20), st.integers(2, 4))
def test_every_class_gets_its_share_while_the_first_one_never_ends(limit: int, classes: int) -> None:
    worker = _Worker(limit, classes)
    for index in range(classes):
        for _ in range(limit + 200):
            worker.arrive(index)
    worker.started.clear()
    for _ in range(10 * SHARE):
        worker.arrive(0)
        worker.end()
    for index in range(1, classes):
        assert worker.started.count(index) >= 9
    assert worker.started.count(0) >= len(worker.started) * (1 - classes / SHARE)


def test_the_share_is_had_although_no_slot_stays_free() -> None:
    worker = _Worker(2, 2)
    worker.arrive(0)
    worker.arrive(1)
    assert worker.waiting == [0, 1]
    for _ in range(SHARE - 1):  # an important one always runs, and none waits
        worker.arrive(0)
        worker.end()
    assert worker.waiting == [0, 0]
    assert worker.started.count(1) == 1


def test_an_absent_class_is_passed_over_as_if_it_waited() -> None:
    worker = _Worker(1, 2)
    worker.limiter.absent.add(1)
    worker.arrive(0)
    for _ in range(SHARE):
        worker.arrive(0)
        assert not worker.limiter.is_next(1)
        worker.end()
    worker.end()
    assert worker.limiter.is_next(1)


def test_requests_of_the_run_before_take_slots() -> None:
    worker = _Worker(2, 2)
    worker.limiter.occupy(2)
    worker.arrive(0)
    assert worker.waiting == [1, 0]
    worker.limiter.release()
    assert worker.running == [0]

from __future__ import annotations

import json

from rabibridge._dashboard.snapshot import plotted, state_of
from rabibridge_core.introspection import (
    CallCounts,
    DeafService,
    FailureRecord,
    QueueStatus,
    Services,
    ServiceStatus,
    Workers,
    WorkerStatus,
)


def one_state(workers: Workers = Workers(), services: Services = Services()) -> dict[str, object]:  # noqa: B008
    return state_of(workers, services, time=1.0, broker="amqp://b/", allow_actions=False)


def test_what_workers_say_is_cut_so_that_a_state_stays_small() -> None:
    long = "x" * 65_536
    failure = FailureRecord("failed", type=long, message=long, traceback=long, worker=long)
    services = Services(
        tuple(
            ServiceStatus(f"service {number}", doc=long, signature=long, failures=(failure,) * 16)
            for number in range(1000)
        )
    )
    workers = Workers(tuple(WorkerStatus(str(number), "worker") for number in range(5000)))
    state = one_state(workers, services)

    assert len(json.dumps(state)) < 12_000_000
    assert len(state["workers"]) == 2000  # type: ignore[arg-type]
    assert len(state["errors"]) == 200  # type: ignore[arg-type]


def test_workers_that_do_not_answer_are_named() -> None:
    deaf = DeafService("add", consumers=3, answered=2, waiting=7)
    notes = one_state(Workers(deaf=(deaf,), refused=(("w1", "it wants a signature"),)))["notes"]

    assert notes == [
        "1 of 3 workers of add take calls and do not answer: they stand still, run an older version, or have "
        "introspection switched off",
        "w1 does not tell: it wants a signature",
    ]


def test_calls_that_wait_for_nobody_are_told() -> None:
    queue = QueueStatus("rpc_async_add", size=100, waiting=12, consumers=0)
    state = one_state(services=Services((ServiceStatus("add", queues=(queue,), silent=0),)))

    assert state["notes"] == ["12 calls of add wait, and no worker serves it"]


def test_what_is_plotted_has_gaps_where_nothing_is_known() -> None:
    state = one_state(services=Services((ServiceStatus("add", counts=CallCounts(succeeded=5), rate=2.0),)))

    assert plotted(state)["async add"] == {
        "rate": 2.0, "failing": 0.0, "p50": None, "p99": None, "waiting": None, "inHand": 0,
    }  # fmt: skip

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import itertools
from rabibridge._dashboard.event_stream import Publisher
from rabibridge._dashboard.history import History
from rabibridge._dashboard.snapshot import plotted, state_of
from rabibridge_core.introspection import CallCounts, FailureRecord, Services, ServiceStatus, Workers, WorkerStatus

texts = itertools.count()
history, publisher = History(), Publisher()
for second in range(700):
    failures = tuple(FailureRecord("failed", f"E{next(texts)}", f"{next(texts)}" * 8000) for _ in range(16))
    services = Services(tuple(
        ServiceStatus(f"service {number}", counts=CallCounts(succeeded=second * 14_000), rate=1.4e4, failures=failures)
        for number in range(100)
    ))
    workers = Workers(tuple(WorkerStatus(f"{second} {number}", f"worker {second} {number}") for number in range(50)))
    state = state_of(workers, services, time=float(second), broker="amqp://b/", allow_actions=False)
    history.add(state["time"], plotted(state))
    publisher.publish(state)

print(int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_billion_calls_and_ever_new_errors_and_workers_take_no_more_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150

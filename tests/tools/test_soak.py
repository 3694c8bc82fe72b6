from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, StreamError
from rabibridge_testing._servers.private import SERVER_VARIABLE, find_server
from tests.chaos.runs import Run
from tests.docs.blocks import ROOT
from tools.soak.figures import Comparison, Figures
from tools.soak.plans import StreamPlan
from tools.soak.streams import StreamEntry
from tools.soak.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a soak sends signals that Windows lacks")
COMMAND = [sys.executable, "-m", "tools.soak", "600", "--seed", "7"]
RAN = [Run(1, 0.0)]


@pytest.mark.skipif(sys.platform == "win32" or find_server() is None, reason="needs an installed rabbitmq-server")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_soak_that_is_stopped_ends_with_its_tally(number: signal.Signals) -> None:
    with subprocess.Popen(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as soak:
        assert soak.stdout is not None
        assert soak.stdout.readline() == "seed 7, 600 s\n"
        soak.send_signal(number)
        output, errors = soak.communicate(timeout=90)
    last = output.splitlines()[-1]
    assert last.startswith("interrupted: calls 0, results 0, "), (output, errors)
    assert last.endswith(" s, seed 7, exit status 1")
    assert soak.returncode == 1


def test_a_soak_whose_broker_does_not_start_ends_with_its_tally(tmp_path: Path) -> None:
    server = tmp_path / "rabbitmq-server"
    server.write_text("#!/bin/sh\nexit 3\n")
    server.chmod(0o755)
    environment = os.environ | {SERVER_VARIABLE: str(server)}
    soak = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)
    last = soak.stdout.splitlines()[-1]
    assert last.startswith("failed (BrokerError): calls 0, results 0, "), soak
    assert last.endswith(" s, seed 7, exit status 1")
    assert soak.returncode == 1


def test_what_is_worse_after_the_faults_is_missed() -> None:
    before = Figures(rates=[90, 100, 500], client=[100, 100, 900], workers={1: [100], 2: [120]})
    assert not Comparison.of(before, before).missed
    back = Figures(rates=[10, 90, 500], client=[110], workers={1: [110], 3: [121]})
    assert not Comparison.of(before, back).missed
    assert Comparison.of(before, Figures([89], [100], {1: [100]})).missed == ["throughput"]
    worse = Comparison.of(before, Figures([200], [111], {1: [111], 2: [120], 3: [122]}))
    assert worse.missed == ["memory of client", "memory of kept workers", "memory of new workers"]
    assert not Tally(comparison=worse).clean
    assert "MISSED" in str(Tally(comparison=worse))


def _entry(plan: StreamPlan, items: int, **what: object) -> StreamEntry:
    entry = StreamEntry(1, plan, began=100.0, ended=101.0)
    for item in range(items):
        entry.take(item)
    for name, value in what.items():
        setattr(entry, name, value)
    return entry


def _error(received: int) -> StreamError:
    error = StreamError("gone")
    error.received = received
    return error


def test_a_stream_has_all_of_its_items_or_one_error_that_tells_how_many_came() -> None:
    plan, resumable = StreamPlan("stream", 5), StreamPlan("resumable", 5, errors=())
    assert _entry(plan, 5).violation(RAN) == ""
    assert _entry(plan, 4).violation(RAN) == "lost items"
    assert _entry(plan, 5).violation([]) == "wrong, for it never ran"
    assert _entry(plan, 2, left=True).violation(RAN) == ""
    assert _entry(plan, 2, ended=None).violation(RAN) == "hung"
    assert _entry(plan, 5, ended=100.0 + plan.timeout + 11).violation(RAN) == "hung"
    assert _entry(plan, 2, error=_error(2), again=_error(2)).violation(RAN) == ""
    assert _entry(plan, 3, error=_error(2), again=_error(2)).violation(RAN) == "wrong number of items in the error"
    assert _entry(plan, 2, error=_error(2)).violation(RAN).startswith("wrong: another step")
    assert _entry(plan, 0, error=CallTimeoutError("late")).violation(RAN) == "lost"
    assert _entry(resumable, 2, error=_error(2), again=_error(2)).violation(RAN) == "lost"
    twice = _entry(plan, 3)
    twice.take(2)
    twice.take(4)
    assert twice.violation(RAN) == "wrong: item 2 after 3 items"

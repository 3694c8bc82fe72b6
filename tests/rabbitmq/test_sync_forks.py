"""The synchronous client and forks: the child gets a connection of its own, and the parent is not disturbed."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.rabbitmq.sync_support import LOOPS, ON_EVERY_PYTHON, programs, python

if TYPE_CHECKING:
    from tests.rabbitmq.sync_support import SyncPrograms

__all__ = ["programs", "python"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

# Python 3.12 and later warn of every fork of a process with threads, which is what these tests do.
QUIET = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
FORKS = os.environ.get("SYNC_FORKS", "150")  # `make soak-sync` has more


@ON_EVERY_PYTHON
async def test_a_fork_while_a_call_is_in_flight(programs: SyncPrograms, loop: str) -> None:
    process = await programs.start("forks", loop, **QUIET)
    before = await process.says()
    child, grandchild, again = [await process.says() for _ in range(3)]
    after = await process.says()
    assert before["result"] == 1
    assert (child["child"], child["pending"], grandchild["grandchild"], again["child"]) == (2, 0, 3, 4)
    assert len({report["name"] for report in (before, child, grandchild)}) == 3
    assert child["name"] == again["name"]
    assert str(child["pid"]) in child["name"]
    assert (after["status"], after["result"], after["name"], after["pending"]) == (0, 5, before["name"], 1)
    process.write_line()
    programs.gate.opened.set()
    assert (await process.says())["held"] is None  # the result, on the connection of before
    assert await process.ended() == 0
    assert process.log.read_text() == ""
    assert programs.gate.cancelled == 0


@pytest.mark.parametrize("loop", LOOPS)
async def test_many_forks_while_many_threads_call(programs: SyncPrograms, loop: str) -> None:
    (report,), code = await programs.reports("forks_often", loop, FORKS=FORKS, **QUIET)
    assert (report["failed"], report["statuses"], report["alive"], code) == ([], [0], 0, 0)


async def test_a_fork_in_the_middle_of_a_wait(programs: SyncPrograms) -> None:
    process = await programs.start("forks_in_a_signal_handler", **QUIET)
    await process.ready()
    await programs.gate.holds(1)
    process.send(signal.SIGUSR1)
    reports, code = await programs.rest(process)
    parent = next(report for report in reports if report["parent"])
    child = next(report for report in reports if not report["parent"])
    assert "was waiting when process" in child["error"]
    assert parent["error"].startswith("CallTimeoutError")
    assert {child["again"], parent["again"]} == {1, 2}
    assert code == 0


@ON_EVERY_PYTHON
async def test_children_of_multiprocessing(programs: SyncPrograms, loop: str) -> None:
    reports, code = await programs.reports("multiprocessing_children", loop, **QUIET)
    first, *children, last = reports
    assert code == 0
    assert sorted(report["result"] for report in reports) == [1, 2, 3, 4, 5]
    assert first["name"] == last["name"]
    assert all(str(child["pid"]) in child["name"] for child in children)


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist there")
@pytest.mark.parametrize("loop", LOOPS)
async def test_programs_that_are_started_beside_it_disturb_nothing(programs: SyncPrograms, loop: str) -> None:
    reports, code = await programs.reports("starts_programs", loop, FORKS=FORKS)
    first, last = reports
    assert (last["failed"], last["name"], code) == ([], first["name"], 0)
    assert last["result"] > first["result"]

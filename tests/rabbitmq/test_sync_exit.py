"""How programs end that use the synchronous client: quietly, soon, and with the exit code that they choose."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.rabbitmq.sync_support import ON_EVERY_PYTHON, programs, python
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

if TYPE_CHECKING:
    from tests.rabbitmq.sync_support import SyncPrograms

__all__ = ["programs", "python"]

NO_LATE_THREADS = (3, 12)
"""Python 3.12 starts no thread once it has begun to exit; its patch releases differ in when that is."""


@ON_EVERY_PYTHON
async def test_a_program_that_just_ends(programs: SyncPrograms, loop: str) -> None:
    (report,), code = await programs.reports("ends", loop)
    assert (report["result"], code) == (1, 0)
    (report,), code = await programs.reports("ends_with_3", loop)
    assert (report["result"], code) == (2, 3)


@ON_EVERY_PYTHON
async def test_a_program_that_ends_while_a_call_is_in_flight(programs: SyncPrograms, loop: str) -> None:
    (_,), code = await programs.reports("ends_in_flight", loop)
    assert code == 0
    await until(lambda: programs.gate.running == 0)  # the worker was told


@ON_EVERY_PYTHON
async def test_calls_while_the_interpreter_exits(programs: SyncPrograms, loop: str) -> None:
    (first, late), code = await programs.reports("calls_at_exit", loop)
    assert (first["result"], late["exit"], code) == (1, [2, 3], 0)
    (first, late), code = await programs.reports("calls_after_main", loop)
    assert (first["result"], late["after"], code) == (4, [5, 6], 0)


@ON_EVERY_PYTHON
@pytest.mark.parametrize("program", ["first_calls_at_exit", "first_calls_after_main"])
async def test_first_calls_while_the_interpreter_exits(programs: SyncPrograms, program: str, loop: str) -> None:
    (late,), code = await programs.reports(program, loop)
    first, second = late["exit" if "exit" in program else "after"]
    if programs.version != NO_LATE_THREADS or first == 1:
        assert (first, second) == (1, 2)
    else:
        assert first == second
        assert first.startswith("ConnectionLostError: ")
        assert "cannot start the thread" in first
    assert code == 0


@ON_EVERY_PYTHON
async def test_a_call_after_everything_was_closed(programs: SyncPrograms, loop: str) -> None:
    (first, late), code = await programs.reports("calls_at_exit_before_the_import", loop)
    assert (first["result"], code) == (1, 0)
    assert late["late"].startswith("ConnectionLostError: ")
    assert "interpreter exits" in late["late"]


@ON_EVERY_PYTHON
async def test_a_program_that_ends_while_it_reconnects(programs: SyncPrograms, loop: str) -> None:
    async with Proxy(programs.url) as proxy:
        url = str(proxy.url).replace("127.0.0.1", "localhost")  # a name to look up
        process = await programs.start("ends_while_it_reconnects", loop, RABIBRIDGE_URL=url)
        assert (await process.says())["result"] == 1
        process.write_line()
        proxy.refusing = True
        proxy.cut()
        assert (await process.says())["state"] != "ready"
    assert await process.ended() == 0
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "shutdown" not in log


@ON_EVERY_PYTHON
async def test_ctrl_c_cancels_the_call_before_it_is_raised(programs: SyncPrograms, loop: str) -> None:
    process = await programs.start("interrupted", loop)
    await process.ready()
    await programs.gate.holds(1)
    process.send(signal.SIGINT)
    assert await process.ended() == 7  # it ended without a chance to send anything later
    await until(lambda: programs.gate.cancelled == 1)
    assert process.log.read_text() == ""


async def test_how_long_an_exit_takes(programs: SyncPrograms) -> None:
    loop = asyncio.get_running_loop()
    process = await programs.start("ends_in_flight")
    await process.says()
    began = loop.time()
    assert await process.ended() == 0
    assert loop.time() - began < PATIENCE / 2

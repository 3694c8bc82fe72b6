"""What a child process needs before its first call: slow, or failing, at the start and when a child is replaced."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import CallTimeoutError, RegistrationError
from rabibridge_core.rpc import RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")


@pytest.fixture
def children_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Say how children start from now on: fast, slow or broken."""
    file = tmp_path / "mode"
    file.write_text("fast")
    monkeypatch.setenv("PROCESS_TEST_MODE", str(file))
    return file.write_text


async def test_an_initialiser_that_raises_is_one_error_at_the_start(
    children_start: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    children_start("broken")
    caplog.set_level(logging.CRITICAL)
    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(functions.with_initialiser, executor="process", fetch_size=1)
    async with server:
        with pytest.raises(RegistrationError, match=r"with_initialiser.*LookupError: the licence server is away"):
            await soon(server.run_serve(signals=False))


async def test_a_slow_initialiser_keeps_the_service_from_being_ready(children_start: Callable[[str], object]) -> None:
    children_start("slow")
    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(functions.with_initialiser, executor="process", fetch_size=1)
    async with server:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: any("its child processes are starting" in each for each in server.health().reasons))
        assert not server.health().ok
        children_start("fast")
        await soon(server.wait_serving())
        assert server.health().ok
        server.stop()
        await soon(running)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("slow", "one is being started"), ("broken", "LookupError: the licence server is away")],
)
async def test_calls_wait_for_a_child_that_replaces_another_until_their_deadline(
    how: str, reason: str, children_start: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with served(functions.with_initialiser) as (server, client):
        state, pid = await soon(client.remote_call("with_initialiser", ftype="sync"))
        assert state == "initialised"
        children_start(how)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: any(reason in each for each in server.health().reasons))
        assert not server.health().ok
        patient = asyncio.ensure_future(client.remote_call("with_initialiser", ftype="sync"))
        with pytest.raises(CallTimeoutError):
            await soon(client.remote_call("with_initialiser", ftype="sync", timeout=0.5))
        assert not patient.done()
        children_start("fast")
        found, other = await soon(patient)
        assert (found, other != pid) == ("initialised", True)
        await until(lambda: server.health().ok)

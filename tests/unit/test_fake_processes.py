"""A broker in memory is that of one process: others do not reach another one, or a real one, by accident."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, RemoteExecutionError, RMQClient
from tests.unit import process_functions as functions

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")
REFUSED = "it was started by a test whose broker is in the memory of process"
UNREACHABLE = "amqp://guest:guest@127.0.0.1:9"


@pytest.mark.skipif(os.name == "nt", reason="services run in child processes on POSIX only")
async def test_calls_made_in_child_processes(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(functions.square)
    fake_broker.add_service(functions.ask_again, executor="process", fetch_size=1)
    async with RMQClient() as client:
        for url in (UNREACHABLE, "memory://other"):
            with pytest.raises(RemoteExecutionError, match=REFUSED):
                await client.options(timeout=60).call("ask_again", url)
    assert [call.service for call in fake_broker.calls] == ["ask_again", "ask_again"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes(fake_broker: FakeBroker) -> None:
    fake_broker.stub("square", returns=9)
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(functions.ask_again(UNREACHABLE))
        except ConfigurationError as error:
            os._exit(3 if REFUSED in str(error) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert asyncio.run(functions.ask_again(UNREACHABLE)) == 9


def test_started_programs(fake_broker: FakeBroker) -> None:
    program = f"from rabibridge.sync import Client\nClient(url={UNREACHABLE!r}).connect()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250)
    assert REFUSED in done.stderr


def test_nothing_is_left_of_it() -> None:
    assert "OVERRIDDEN_RABIBRIDGE_TRANSPORT" not in os.environ

"""A worker that dies is followed by another one; one that cannot start stops the supervisor, with the reason."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from rabibridge import ConnectionLostError
from tests.support.waiting import soon, until
from tests.workers.support import children_of, state_of

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.workers.support import Program

_ENDS = (0, 3, -signal.SIGKILL, -signal.SIGSEGV)


async def test_a_worker_that_dies_is_replaced_whatever_it_died_of(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "2") as running:
        await running.serves(2)
        for count, how in enumerate(_ENDS, start=1):
            before = running.workers
            await client.notify("end", int(how))
            await running.logged("another one is started", count)
            await running.logged(" serves\n", count)
            assert len(before - running.workers) == 1
            assert len(running.workers) == 2, running.log
            assert not [pid for pid in children_of(running.pid) if state_of(pid) == "Z"]
            assert await soon(client.remote_call("pid", timeout=60)) in running.workers
        for text in ("exited with code 0", "exited with code 3", "killed by SIGKILL", "killed by SIGSEGV"):
            assert text in running.log
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


async def test_a_worker_that_dies_at_start_again_and_again_stops_the_supervisor(program: Program) -> None:
    (program.folder / "dying.py").write_text("import os\nos._exit(5)\n")
    with program.command("dying.py", "--workers", "2") as running:
        assert await running.ended() == 3
        assert "exited with code 5 before it was ready, 5 times in a row" in running.log.splitlines()[-1]


async def test_a_program_that_cannot_be_loaded_ends_at_once_with_the_frames_of_its_author(program: Program) -> None:
    (program.folder / "bad.py").write_text('def f():\n    raise ValueError("boom")\n\n\nf()\n')
    with program.command("bad.py", "--workers", "2") as workers, program.command("bad.py") as single:
        for running, what in ((workers, "no worker can start: "), (single, "")):
            assert await running.ended() == 3
            error = running.log[running.log.index("error: ") :].splitlines()
            assert error[0] == f"error: ConfigurationError: {what}bad.py cannot be loaded"
            assert [line.split(", ", 1)[1] for line in error if line.startswith("  File ")] == [
                "line 5, in <module>",
                "line 2, in f",
            ]
            assert error[-1] == "ValueError: boom"


_AWAY = "amqp://guest:guest@127.0.0.1:1/"


async def test_without_a_broker_it_ends_or_waits_as_it_is_told(program: Program) -> None:
    await asyncio.gather(_ends_without_a_broker(program), _waits_for_the_broker(program))


async def _ends_without_a_broker(program: Program) -> None:
    variables = {"RABIBRIDGE_URL": _AWAY, "RABIBRIDGE_CONNECT_TIMEOUT": "0.2"}
    with program.command("services.py", "--workers", "1", variables=variables) as running:
        assert await running.ended() == 4
        assert "no worker can start: " in running.log.splitlines()[-1]
        assert ConnectionLostError.__name__ in running.log


async def _waits_for_the_broker(program: Program) -> None:
    variables = {"RABIBRIDGE_URL": _AWAY, "RABIBRIDGE_CONNECT_TIMEOUT": "0.2"}
    arguments = ("services.py", "--workers", "1", "--wait-for-broker", "--start-timeout", "10")
    with program.command(*arguments, variables=variables) as running:
        await running.logged("waiting for the broker, for 0 s")
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


async def test_workers_that_are_bound_to_cores_share_them(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "3", "--bind-core", "--pid-file", "its.pid") as running:
        await running.serves(3)
        assert (program.folder / "its.pid").read_text() == f"{running.pid}\n"
        assert len(await soon(client.remote_call("cores", timeout=60))) == 1
        with program.command("services.py", "--workers", "1", "--pid-file", "its.pid") as second:
            assert await second.ended() == 3
            assert f"its.pid names process {running.pid}, which runs" in second.log
        running.send(signal.SIGTTIN)
        await until(lambda: len(running.workers) == 4)
        running.send(signal.SIGTTOU)
        await running.logged("SIGTTOU: 3 workers from now on")  # a signal is not delivered twice at the same time
        running.send(signal.SIGTTOU)
        await until(lambda: len(running.workers) == 2)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
    assert not (program.folder / "its.pid").exists()

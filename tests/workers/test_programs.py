"""Programs that run workers themselves: by ``server.run()``, and by the helper that RabiBridge 0.1 had."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, multiprocess_spawn_helper
from tests.rabbitmq.support import until_call_gives
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.workers.support import Program

# In the form of the page "production deployment" of 0.1: a loop made by hand, a client made at import, more processes
# than cores.
OLD_PROGRAM = """
import asyncio
import os

from rabibridge import RMQClient, RMQServer, multiprocess_spawn_helper, register_call

try:
    import uvloop

    uvloop.install()
except:
    ...

bridge = RMQClient()

@register_call(queue_size=10000, fetch_size=128, timeout=10, validate=True)
async def old_add(a: int, b: int) -> str:
    return str(a + b)

@register_call(fetch_size=4)
async def old_pid():
    await asyncio.sleep(0.1)
    return [os.getpid(), sorted(os.sched_getaffinity(0))]

async def process_async():
    s = RMQServer()
    s.load_services(globals())
    async with s:
        await s.run_serve()

def single_process():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(process_async())
    except KeyboardInterrupt:
        pass

if __name__ == "__main__":
    print("main", flush=True)
    multiprocess_spawn_helper(3, single_process, bind_core=True)
    print("after", flush=True)
"""


async def test_a_program_written_for_version_0_1_runs_unchanged(program: Program, client: RMQClient) -> None:
    broker, _, rest = program.url.removeprefix("amqp://guest:guest@").partition("/")
    host, _, port = broker.partition(":")
    (program.folder / "config").mkdir()
    (program.folder / "config" / "env.toml").write_text(
        f"[rabbitmq]\nRABBITMQ_HOST = '{host}'\nRABBITMQ_PORT = {port}\nRABBITMQ_USERNAME = 'guest'\n"
        f"RABBITMQ_PASSWORD = 'guest'\n\n[app]\nDEBUG_MODE = false\nCID_MAX = 1073741824\nCOMPRESS_THRESHOLD = 1024\n"
        "SERIALISER = 'msgpack'\n"
    )
    (program.folder / "old.py").write_text(OLD_PROGRAM)
    variables = {"RABIBRIDGE_URL": "", "RABBITMQ_VIRTUALHOST": rest}
    with program.python("old.py", variables=variables) as running:
        await running.logged("main")
        await until_call_gives(client, "old_add", "3", 1, 2)
        seen: dict[int, list[int]] = {}

        async def all_answer() -> bool:
            answers = await asyncio.gather(*(client.remote_call("old_pid", timeout=60) for _ in range(12)))
            seen.update({pid: cores for pid, cores in answers})
            return len(seen) == 3

        await until_true(all_answer)
        assert set(seen) == running.workers
        assert {len(cores) for cores in seen.values()} == {1}
        assert len({core for cores in seen.values() for core in cores}) == min(3, len(os.sched_getaffinity(0)))
        os.kill(min(seen), signal.SIGKILL)
        await until(lambda: len(running.workers) == 3 and min(seen) not in running.workers)
        running.send(signal.SIGINT, group=True)
        assert await running.ended() == 0
        lines = [line for line in running.log.splitlines() if "is started now" not in line]
        assert lines == ["main", "after"]


RUN = """
import asyncio
import logging
import os
import sys

from rabibridge import RMQServer, register_call

logging.basicConfig(level="INFO")

def main(workers):
    @register_call
    async def run_pid():
        return os.getpid()

    server = RMQServer()
    server.load_services(locals())
    try:
        server.run(workers=workers)
    finally:
        print("finally", flush=True)
    print("after", flush=True)

main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""


@pytest.mark.parametrize("how", ["file", "module", "text", "one"])
async def test_a_server_runs_in_workers_however_its_program_was_started(
    program: Program, client: RMQClient, how: str
) -> None:
    (program.folder / "app").mkdir()
    (program.folder / "app" / "__main__.py").write_text(RUN)
    (program.folder / "script").write_text(RUN)
    arguments = {
        "file": ("script", "2"),
        "module": ("-m", "app", "2"),
        "text": ("-c", RUN, "2"),
        "one": ("script",),
    }[how]
    with program.python(*arguments) as running:
        if how == "one":
            await running.logged("serves 1 service")
            assert await soon(client.remote_call("run_pid", timeout=60)) == running.pid
        else:
            await running.serves(2)
            assert await soon(client.remote_call("run_pid", timeout=60)) in running.workers
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        assert running.log.count("after\n") == 1


_MISUSE = {
    "no guard": (
        "from rabibridge import multiprocess_spawn_helper\n\n\ndef one():\n    pass\n\n\n"
        "multiprocess_spawn_helper(2, one)\n",
        "Put it under if __name__ == '__main__'",
    ),
    "lambda": (
        "from rabibridge import multiprocess_spawn_helper\n\nif __name__ == '__main__':\n"
        "    multiprocess_spawn_helper(2, lambda: None)\n",
        "define a function at the top level of a module",
    ),
    "raises": (
        "from rabibridge import multiprocess_spawn_helper\n\n\ndef one():\n    raise ValueError('boom')\n\n\n"
        "if __name__ == '__main__':\n    multiprocess_spawn_helper(2, one)\n",
        "no worker can start: ValueError: boom",
    ),
}


@pytest.mark.parametrize("misuse", sorted(_MISUSE))
async def test_what_cannot_run_in_workers_is_one_error(program: Program, misuse: str) -> None:
    code, expected = _MISUSE[misuse]
    (program.folder / "misuse.py").write_text(code)
    with program.python("misuse.py") as running:
        assert await running.ended() == 1
        assert expected in running.log
        assert running.log.count("Traceback") <= (2 if misuse == "raises" else 1)


async def test_functions_that_return_are_not_called_again(program: Program) -> None:
    (program.folder / "ends.py").write_text(
        "import os\nfrom rabibridge import multiprocess_spawn_helper\n\n\n"
        "def one():\n    open(f'ended-{os.getpid()}', 'w')\n\n\n"
        "if __name__ == '__main__':\n    multiprocess_spawn_helper(2, one)\n"
    )
    with program.python("ends.py") as running:
        assert await running.ended() == 0
        assert running.log == ""
    assert len(list(program.folder.glob("ended-*"))) == 2


def nothing() -> None:
    pass


async def test_workers_are_refused_where_an_event_loop_runs() -> None:
    with pytest.raises(ConfigurationError, match="call it where no event loop runs"):
        multiprocess_spawn_helper(2, nothing)


@pytest.mark.parametrize("count", [0, -1, True, 2.5, "two", 5000])
def test_a_number_of_workers_that_is_none_is_refused(count: object) -> None:
    with pytest.raises(ConfigurationError, match="expected a number from 1 to 1024"):
        multiprocess_spawn_helper(count, nothing)  # type: ignore[arg-type]

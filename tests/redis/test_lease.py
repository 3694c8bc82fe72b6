"""What runs longer than a lease, or holds up the loop for longer, and clocks that are wrong.

It takes as long as the shortest lease allows, 3 s, and a little more.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rabibridge_core import register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.redis.programs import line, program
from tests.support.waiting import soon

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0
LEASE = 3.0

WORKER = """
import sys, time

url, name, path, offset = *sys.argv[1:4], float(sys.argv[4])
true_time, true_ns = time.time, time.time_ns
time.time = lambda: true_time() + offset
time.time_ns = lambda: true_ns() + int(offset * 1e9)

import asyncio, ctypes, os
from rabibridge_core import register_call
from rabibridge_core.rpc import RpcServer

@register_call(name=name)
async def last(seconds):
    print("began", flush=True)
    await asyncio.sleep(seconds)
    return os.getpid()

@register_call(name=f"{name}.hog")
def hold_the_gil():
    print("began", flush=True)
    with open(path, "rb", buffering=0) as gate:
        ctypes.PyDLL(None).read(gate.fileno(), ctypes.create_string_buffer(1), 1)
    return os.getpid()

async def main():
    server = RpcServer(url=f"{url}?lease=3")
    server.load_services({"last": last, "hold_the_gil": hold_the_gil})
    async with server.serving():
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def worker(url: str, name: str, path: Path, offset: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """Run a worker whose clock differs by ``offset`` seconds."""
    with program(WORKER, url, name, str(path), str(offset)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


async def began(process: subprocess.Popen[str]) -> None:
    assert await line(process) == "began"


async def test_a_call_that_lasts_longer_than_the_lease_runs_once_whatever_the_clocks_say(
    redis_url: str, tmp_path: Path
) -> None:
    name = f"lease_{uuid.uuid4().hex}"
    async with RpcClient(url=redis_url) as client:
        with worker(redis_url, name, tmp_path, 3600) as ahead, worker(redis_url, name, tmp_path, -3600) as behind:
            call = client.remote_call(name, (LEASE + 1.5,), timeout=PATIENCE)
            assert await call in (ahead.pid, behind.pid)
            quick = [client.remote_call(name, (0,), timeout=PATIENCE) for _ in range(20)]
            assert set(await asyncio.gather(*quick)) <= {ahead.pid, behind.pid}
            ahead.kill()
            behind.kill()
            said = [process.communicate()[0].split() for process in (ahead, behind)]
        assert sum(map(len, said)) == 1 + len(quick), "none ran twice"


async def test_a_function_that_holds_the_gil_for_longer_than_the_lease_runs_once_more(
    redis_url: str, tmp_path: Path
) -> None:
    name, gate = f"lease_{uuid.uuid4().hex}", tmp_path / "gate"
    os.mkfifo(gate)
    async with RpcClient(url=redis_url) as client:
        with worker(redis_url, name, gate) as first:
            call = asyncio.create_task(client.remote_call(f"{name}.hog", timeout=PATIENCE, ftype="sync"))
            await began(first)
            with worker(redis_url, name, gate) as second:
                writing = asyncio.to_thread(gate.open, "wb", buffering=0)
                opened = await soon(writing)
                await began(second)  # the lease of the first has ended
                with opened:  # until the second one has opened it, too
                    opened.write(b"12")
                    assert await call in (first.pid, second.pid)  # whoever returns first
                assert await client.remote_call(name, (0,), timeout=PATIENCE) in (first.pid, second.pid)


async def test_a_worker_that_was_found_dead_gets_no_more_calls_from_what_it_still_sends(redis_url: str) -> None:
    name = f"lease_{uuid.uuid4().hex}"
    queue = f"rpc_async_{name}"

    async def double(value: int) -> int:
        return 2 * value

    def serving() -> RpcServer:
        server = RpcServer(url=redis_url)
        server.load_services({name: register_call(name=name)(double)})
        return server

    dead = serving()
    async with RpcClient(url=redis_url) as client, dead.serving(), serving().serving():
        assert await client.remote_call(name, (1,), timeout=PATIENCE) == 2
        looking = client._client.transport.session  # type: ignore[attr-defined]
        ask = looking.commands.ask
        session = dead._server.transport.session  # type: ignore[attr-defined]
        await ask("HSET", f"rpc::q:{queue}", "looked_ms", 2**52)  # as before the clock of the server was set back
        session.listener.drop()  # the server notices this first, and reads later what was sent on the other connection
        while session.token in str(await ask("HKEYS", f"rpc::q:{queue}:c")):
            assert (await looking.ask("maintain", looking.token, 30_000, 0, queue))[1:] == [1]
        assert await session.ask("settle", queue, f"{session.token}:1", 5) == -2
        assert await session.ask("give_back", queue, f"{session.token}:1", "1", "1-1") == -2
        consumers = await ask("XINFO", "CONSUMERS", f"rpc::q:{queue}:s", "g")
        assert session.token not in str(consumers)

"""What becomes of calls when somebody sets the clock of the server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import CallTimeoutError, ConnectionLostError, register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_redis._transport.server_clock import ServerClock
from tests.redis.programs import line, program
from tests.support.redis_fixture import needs_redis_server
from tests.support.waiting import until
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60.0
HOUR = 3600

CLOCK = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

static long ahead(void) {
    char text[32] = {0};
    int file = open(getenv("SECONDS_AHEAD"), O_RDONLY);
    if (file < 0 || read(file, text, 31) < 0) return 0;
    close(file);
    return atol(text);
}

int gettimeofday(struct timeval *now, void *zone) {
    int result = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += ahead();
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += ahead();
    return result;
}
"""


HOLDER = """
import asyncio, sys
from rabibridge_core import register_call
from rabibridge_core.rpc import RpcServer

@register_call(fetch_size=3)
async def wait():
    print("began", flush=True)
    await asyncio.Event().wait()

async def main():
    server = RpcServer(url=sys.argv[1])
    server.load_services({"wait": wait})
    async with server.serving():
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("sent_at", "heard_at", "server_time", "step"),
    [
        (11.0, 11.1, 501.0, 0.0),
        (11.0, 45.0, 501.0, 0.0),  # this process stood still before it read the answer
        (45.0, 45.1, 501.5, -33.5),
        (11.0, 11.1, 501.9, 0.0),  # corrected by less than a second
        (11.0, 11.1, 4101.1, 3600.0),
        (11.0, 11.1, -3099.1, -3600.0),
    ],
)
def test_a_step_of_the_clock_is_told_from_a_process_that_stood_still(
    sent_at: float, heard_at: float, server_time: float, step: float
) -> None:
    clock = ServerClock()
    assert clock.step(10.0, 10.0, 500.0) == 0.0
    assert clock.step(sent_at, heard_at, server_time) == pytest.approx(step, abs=0.2)


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets by how many seconds the clock of a server that starts now is ahead of that of this machine."""
    needs_redis_server()
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler, or no Linux")
    source, library, ahead = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "ahead"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SECONDS_AHEAD", str(ahead))

    def set_to(seconds: int) -> None:
        ahead.write_text(str(seconds))

    return set_to


@pytest.fixture
def redis_to_set(set_clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateRedis]:
    set_clock(0)
    with PrivateRedis() as server:
        monkeypatch.delenv("LD_PRELOAD")
        yield server


async def test_calls_end_and_go_on_when_the_clock_is_set_forward_and_back(
    redis_to_set: PrivateRedis, set_clock: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{redis_to_set.url}?lease=3"
    gate, began = asyncio.Event(), 0

    @register_call(name="wait", fetch_size=3)
    async def wait() -> int:
        nonlocal began
        began += 1
        await gate.wait()
        return began

    server = RpcServer(url=url)
    server.load_services({"wait": wait})
    async with asyncio.timeout(PATIENCE), RpcClient(url=url) as client:
        async with server.serving():
            calls = [asyncio.create_task(client.remote_call("wait", timeout=PATIENCE)) for _ in range(9)]
            await until(lambda: began == 3)
            set_clock(HOUR)
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ends} <= {ConnectionLostError, CallTimeoutError}
            await until(lambda: f"was set forward by {HOUR}.0 s" in caplog.text)
            gate.set()
            assert await client.remote_call("wait", timeout=PATIENCE) == began
        with program(HOLDER, url) as doomed:
            assert await line(doomed) == "ready"
            call = asyncio.create_task(client.remote_call("wait", timeout=PATIENCE))
            assert await line(doomed) == "began"
            server = RpcServer(url=url)
            server.load_services({"wait": wait})
            async with server.serving():
                set_clock(0)
                doomed.kill()
                assert await call == began
                await until(lambda: f"was set back by {HOUR}.0 s" in caplog.text)

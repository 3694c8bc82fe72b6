from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from tests.support.fork_server import ForkServer, start

_AT_ONCE = 12


@cache
def _one() -> ForkServer:
    return ForkServer(("json",))


@cache
def _other() -> ForkServer:
    return ForkServer(("rabibridge.mq",))  # its first program takes longer to start


def test_programs_that_start_at_once_are_children_that_can_be_signalled() -> None:
    def start_one(number: int) -> subprocess.Popen[bytes]:
        server = (_one, _other)[number % 2]
        return start(server, ["-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        programs = list(threads.map(start_one, range(_AT_ONCE)))
    try:
        assert [program.poll() for program in programs] == [None] * _AT_ONCE  # 0: no child of this process
        for program in programs:
            program.kill()
        assert [program.wait(90) for program in programs] == [-9] * _AT_ONCE
    finally:
        for program in programs:
            program.kill()
            program.communicate()
        _one().close()
        _other().close()

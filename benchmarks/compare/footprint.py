"""Measures the cost of importing the library and of an idle connected client."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from time import perf_counter

from benchmarks.compare.rounds import say
from benchmarks.environments import ROOT

_IMPORTS = {"bare": "pass", "ours": "import rabibridge", "aio_pika": "import aio_pika"}
# Import only what a user's program would import, no benchmark code.
_IDLE = {
    "ours": "from rabibridge import RMQClient\n"
    "async def opened():\n"
    "    client = RMQClient(url=sys.argv[1])\n"
    "    await client.connect()\n"
    "    return client",
    "aio_pika": "import aio_pika\nfrom aio_pika.patterns import RPC\n"
    "async def opened():\n"
    "    connection = await aio_pika.connect_robust(sys.argv[1])\n"
    "    return connection, await RPC.create(await connection.channel())",
}
_IDLE_PROGRAM = """
import asyncio, os, sys, uvloop
{opening}
async def main():
    kept = await opened()
    await asyncio.sleep(0.5)
    print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:")][0], flush=True)
    os._exit(0)  # closing takes longer and is not measured
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
"""


@dataclass(frozen=True)
class Footprint:
    """Seconds that a process takes to import each library, and resident bytes of an idle client of each."""

    imports: dict[str, list[float]]
    idle: dict[str, int]

    def import_seconds(self, name: str) -> float:
        """Return the median, minus that of an interpreter that imports nothing."""
        return statistics.median(self.imports[name]) - statistics.median(self.imports["bare"])


def measure_footprint(url: str, times: int) -> Footprint:
    """Start new processes in turn, ``times`` for each import; idle memory is the median of three."""
    say("imports and idle clients")
    imports: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for number in range(times + 1):
        for name, code in _IMPORTS.items():
            start = perf_counter()
            _python(code)
            if number:  # the first one compiles, and reads the files from disk
                imports[name].append(perf_counter() - start)
    idle: dict[str, int] = {}
    for name, opening in _IDLE.items():
        program = _IDLE_PROGRAM.format(opening=opening)
        idle[name] = int(statistics.median(int(_python(program, url)) * 1024 for _ in range(3)))
    return Footprint(imports, idle)


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout

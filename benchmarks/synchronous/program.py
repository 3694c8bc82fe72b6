"""One process of the comparison: ``python -m benchmarks.synchronous.program {serve,call} CONTENDER URL``.

It prints a line of JSON when it is ready. A server serves until it is killed. A client answers each
line ``{"op": "run", "threads": 16, "seconds": 2.0}`` with a line of JSON: it calls for that time in that many threads.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.contenders.sync_base import load
from benchmarks.usage import cpu_seconds

if TYPE_CHECKING:
    from benchmarks.contenders.sync_base import SyncClient

_JOIN_TIMEOUT = 60.0


def run(client: SyncClient, threads: int, seconds: float) -> dict[str, float]:
    """Call in so many threads; each makes its next call when it has the result of the last."""
    took: list[list[float]] = [[] for _ in range(threads)]
    # All threads begin together, when each has called: connecting is not measured.
    barrier = threading.Barrier(threads + 1)

    def work(times: list[float]) -> None:
        with client.thread() as call:
            for number in range(20):
                call(number)
            barrier.wait(_JOIN_TIMEOUT)
            stop = perf_counter() + seconds
            for number in itertools.count():
                began = perf_counter()
                if began >= stop:
                    break
                if call(number) != number:
                    raise AssertionError("an echo differs from what was sent")
                times.append(perf_counter() - began)
            barrier.wait(_JOIN_TIMEOUT)

    running = [threading.Thread(target=work, args=(times,), daemon=True) for times in took]
    for thread in running:
        thread.start()
    barrier.wait(_JOIN_TIMEOUT)
    cpu, start = cpu_seconds(), perf_counter()
    barrier.wait(seconds + _JOIN_TIMEOUT)
    ended, cpu = perf_counter() - start, cpu_seconds() - cpu
    for thread in running:
        thread.join(_JOIN_TIMEOUT)
    every = sorted(itertools.chain(*took))
    return {"calls": len(every), "seconds": ended, "cpu": cpu, "p50": every[len(every) // 2]}


def _say(**values: object) -> None:
    os.write(1, (json.dumps(values) + "\n").encode())


def main(role: str, name: str, url: str) -> None:
    contender = load(name)
    if role == "serve":
        contender.serve(url, lambda: _say(ready=True))
        return
    with contender.client(url) as client:
        _say(ready=True)
        for line in sys.stdin:
            command = json.loads(line)
            _say(**run(client, int(command["threads"]), command["seconds"]))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One run: a worker, a reader and many looks at the queues of the broker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tools.broker import Broker

__all__ = ["BOUND", "Measured", "measure"]

BOUND = 32 * 2**20
"""How many bytes each of the three may take."""
_PAUSE = 0.1
"""Seconds between two looks: without a pause they take more of the broker than the stream."""
_ROOT = Path(__file__).parents[2]


class Measured(NamedTuple):
    """What one run took, in bytes and seconds.

    Attributes:
        kind: what was streamed, and how it was read.
        received: how much arrived.
        seconds: how long it took.
        reader: growth of the caller's memory.
        worker: growth of the worker's memory.
        queues: the most that was found in the queues.
        broker: growth of what the broker holds in binaries, which message bodies are, wherever they are.
        looks: how often the broker was looked at.
    """

    kind: str
    received: int
    seconds: float
    reader: int
    worker: int
    queues: int
    broker: int
    looks: int

    @property
    def flat(self) -> bool:
        """Whether nobody has taken more than is allowed."""
        return max(self.reader, self.worker, self.queues, self.broker) <= BOUND

    def __str__(self) -> str:
        mib = 2**20
        return (
            f"{self.kind:8} {self.received / mib:6.0f} MiB in {self.seconds:5.1f} s; "
            f"caller +{self.reader / mib:.1f} MiB, worker +{self.worker / mib:.1f} MiB, "
            f"broker +{self.broker / mib:.1f} MiB, queues at most {self.queues / mib:.1f} MiB in {self.looks} looks"
        )


async def measure(broker: Broker, url: str, kind: str, total: int) -> Measured:
    """Stream ``total`` bytes on the virtual host of ``url``."""
    worker = await _start(url, "worker")
    try:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert await worker.stdout.readline() == b"ready\n"
        before = await asyncio.to_thread(_held, broker)
        reading = asyncio.create_task(_read(url, kind, total))
        queues = held = looks = 0
        while not reading.done():
            queues = max(queues, await asyncio.to_thread(_waiting, broker, url))
            held, looks = max(held, await asyncio.to_thread(_held, broker)), looks + 1
            await asyncio.sleep(_PAUSE)
        received, seconds, reader = await reading
        worker.stdin.write(b"\n")
        grown = int(await worker.stdout.readline())
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()
    return Measured(kind, received, seconds, reader, grown, queues, max(0, held - before), looks)


async def _read(url: str, kind: str, total: int) -> tuple[int, float, int]:
    process = await _start(url, "reader", kind, str(total))
    output, _ = await process.communicate()
    assert process.returncode == 0
    said = json.loads(output)
    return said["received"], said["seconds"], said["growth"]


async def _start(url: str, role: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tools.stream_memory.{role}", *arguments,
        cwd=_ROOT, env=os.environ | {"RABIBRIDGE_URL": url},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


def _waiting(broker: Broker, url: str) -> int:
    vhost = url.rpartition("/")[2] or "/"
    rows = broker.ctl("list_queues", "-p", vhost, "message_bytes").splitlines()[1:]
    return sum(int(row) for row in rows if row.isdigit())


def _held(broker: Broker) -> int:
    return int(broker.ctl("eval", "erlang:memory(binary)."))

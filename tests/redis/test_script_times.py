"""For how long one script keeps the server from doing anything else.

What is counted is how many commands a script runs, whatever there is in the queue. ``CHAOS_FULL=1`` has 100,000 calls
and 5,000 workers, and looks at the processor time that the server has used: the median of all scripts that do the
same, in the better of two rounds.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from contextlib import asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings import load_settings
from rabibridge_redis._session.session import Session
from tests.support.redis_fixture import needs_redis_server
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FULL = os.environ.get("CHAOS_FULL") == "1"
CALLS = 100_000 if FULL else 2_600
WORKERS = 5_000 if FULL else 300
ROUNDS = 2 if FULL else 1
COMMANDS, SECONDS = 1_100, 0.010
LIMITS: tuple[str | int, ...] = (10 * CALLS, "None", "", "0", "0", "", 0)


def processor_time(said: bytes) -> float:
    """Return how many seconds of a processor the server has used for commands."""
    return sum(map(float, re.findall(rb"used_cpu_(?:user|sys)_main_thread:([\d.]+)", said)))


class Scripts:
    """Runs scripts, and keeps of each kind how many commands the longest has run, and how long each has taken."""

    def __init__(self) -> None:
        self.commands = dict[str, int]()
        self.seconds = defaultdict[str, list[float]](list)

    async def run(self, session: Session, what: str, script: str, *arguments: str | bytes | int) -> Any:
        ask = session.commands.ask
        _, before, answer, after, statistics = await asyncio.gather(  # one after the other, in one round trip
            ask("CONFIG", "RESETSTAT"),
            ask("INFO", "cpu"),
            session.ask(script, *arguments),
            ask("INFO", "cpu"),
            ask("INFO", "commandstats"),
        )
        counts = re.findall(rb"cmdstat_(?!evalsha|config|info)[^:]*:calls=(\d+)", statistics)
        self.commands[what] = max(self.commands.get(what, 0), sum(map(int, counts)))
        self.seconds[what].append(processor_time(after) - processor_time(before))
        return answer


@pytest.fixture
def server() -> Iterator[PrivateRedis]:
    needs_redis_server()
    with PrivateRedis() as server:
        yield server


@asynccontextmanager
async def session_of(server: PrivateRedis) -> AsyncIterator[Session]:
    settings = load_settings(url=server.url)
    session = Session(settings.endpoints[0], settings, "times")
    await session.open()
    try:
        yield session
    finally:
        session.fail(ConnectionLostError("the test has ended"))


async def fill(session: Session, ttl_ms: int | str = "") -> None:
    """Queue calls, 64 in each script."""
    for _ in range(0, CALLS, 64):
        await session.ask("publish", "q", *(part for _ in range(64) for part in (ttl_ms, b"meta", b"a body")))


async def test_no_script_keeps_the_server_busy_for_long(server: PrivateRedis) -> None:
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        scripts = Scripts()
        async with session_of(server) as first, session_of(server) as second:
            await first.commands.ask("FLUSHDB")
        async with session_of(server) as first, session_of(server) as second:
            await taking(scripts, first, second)
            await dying(scripts, first, second)
            await expiring(scripts, second)
            await many_workers(scripts, second)
            await dead_letters(scripts, second)
        assert max(scripts.commands.values()) <= COMMANDS, scripts.commands
        medians = {what: median(took) for what, took in scripts.seconds.items()}
        best = {what: min(took, best.get(what, took)) for what, took in medians.items()}
    assert not FULL or max(best.values()) <= SECONDS, best


async def taking(scripts: Scripts, worker: Session, other: Session) -> None:
    """A worker takes many calls, settles some, and puts some back."""
    await worker.ask("declare", "q", *LIMITS, "q")
    await fill(other)
    await scripts.run(other, "queue 64 calls", "publish", "q", *(part for _ in range(64) for part in ("", b"m", b"b")))
    name, held = f"{worker.token}:1", list[bytes]()
    await worker.ask("join", "q", name, "1")
    while len(held) < CALLS // 2:
        held += [entry[0] for entry in await scripts.run(worker, "take many", "settle", "q", name, CALLS)]
    await scripts.run(worker, "settle many", "settle", "q", name, 0, *held[:1000])
    await scripts.run(worker, "give back", "give_back", "q", name, "1", *held[1000:1200])
    await scripts.run(worker, "take those again", "settle", "q", name, 200)


async def dying(scripts: Scripts, worker: Session, other: Session) -> None:
    """The worker dies, and another one puts back what it holds."""
    worker.fail(ConnectionLostError("killed"))
    await other.ask("join", "q", f"{other.token}:1", "1")
    while (await scripts.run(other, "put back", "maintain", other.token, 30_000, 0, "q"))[1:] == [0]:
        pass
    while await scripts.run(other, "take back", "settle", "q", f"{other.token}:1", CALLS):
        pass
    while await scripts.run(other, "leave", "leave", other.token, "q") == 0:
        pass
    while await scripts.run(other, "empty", "empty", "q"):
        pass


async def expiring(scripts: Scripts, session: Session) -> None:
    """Many calls expire, and a worker looks for one that has not."""
    await fill(session, 1)
    await asyncio.sleep(0.01)
    await scripts.run(session, "look at expired calls", "look", "q")
    await session.commands.ask("XADD", session.key("i", session.token), "*", "m", b"", "b", b"")  # it lives again
    await scripts.run(session, "take expired calls", "settle", "q", f"{session.token}:1", 5)
    await scripts.run(session, "delete", "delete", "q", "")


async def many_workers(scripts: Scripts, session: Session) -> None:
    """Many workers have died together."""
    await session.ask("declare", "q", *LIMITS, "q")
    await asyncio.gather(*(session.ask("join", "q", f"{number:032x}:1", "1") for number in range(WORKERS)))
    await scripts.run(session, "count dead workers", "look", "q")
    while (await scripts.run(session, "forget dead workers", "maintain", session.token, 30_000, 0, "q"))[1:] == [0]:
        pass


async def dead_letters(scripts: Scripts, session: Session) -> None:
    """There are many small dead letters, and a large one needs their room."""
    kept = 8 * CALLS  # each takes as many bytes
    await asyncio.gather(*(session.ask("dead_letter", "q", "why", 0, b"m", b"body", kept) for _ in range(CALLS)))
    large = await scripts.run(session, "keep a letter", "dead_letter", "q", "why", 0, b"m", bytes(kept - 8), kept)
    assert large == 0, "there is more to drop"
    while await scripts.run(session, "drop letters", "trim", kept) == 0:
        pass
    assert await session.commands.ask("XLEN", session.prefix + "dead") == 1

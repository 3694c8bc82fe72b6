"""Streams under load: each ends with all of its items, in order and once each, or with one exact error."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.ledger import GRACE, PLENTY
from tests.support.waiting import until

if TYPE_CHECKING:
    import itertools
    from collections.abc import AsyncIterator, Mapping

    from rabibridge import RMQClient
    from tests.chaos.runs import Run
    from tools.soak.plans import StreamPlan

__all__ = ["StreamEntry", "StreamLoad"]

BULK_SIZE = 16 * 1024
"""Size of an item of ``bulk`` in bytes: 64 of them are what a stream may have ahead of its reader."""
_AFTER_AN_ERROR = 0.05


@dataclass(slots=True)
class StreamEntry:
    """One stream.

    Attributes:
        received: how many items came.
        disorder: what came where another item was due.
        again: the error of a further step after the first one.
        left: whether its reader left it.
    """

    call_id: int
    plan: StreamPlan
    began: float
    received: int = 0
    disorder: str = ""
    ended: float | None = None
    error: BaseException | None = None
    again: BaseException | None = None
    left: bool = False

    @property
    def complete(self) -> bool:
        return self.ended is not None and self.error is None and not self.left

    def take(self, item: int) -> None:
        if item != self.received and not self.disorder:
            self.disorder = f"item {item} after {self.received} items"
        self.received += 1

    def violation(self, ran: list[Run]) -> str:
        """Return which promise was broken: ``"hung"``, ``"wrong ..."``, ``"lost"``, or nothing."""
        if self.ended is None or self.ended - self.began > self.plan.timeout + GRACE:
            return "hung"
        if self.disorder:
            return f"wrong: {self.disorder}"
        if self.error is not None:
            return self._violation_of_the_error(ran)
        if not self.left and self.received != self.plan.count:
            return "lost items"
        return "" if ran else "wrong, for it never ran"

    def _violation_of_the_error(self, ran: list[Run]) -> str:
        if not isinstance(self.error, self.plan.errors):
            return "lost"
        if getattr(self.error, "executed", None) is False and ran:
            return "wrong, for it ran"
        if self.plan.service == "store":
            return ""
        if getattr(self.error, "received", 0) != self.received:
            return "wrong number of items in the error"
        return "" if type(self.again) is type(self.error) else "wrong: another step does not end in the same error"

    def __str__(self) -> str:
        took = "has not ended" if self.ended is None else f"took {self.ended - self.began:.2f} s"
        error = f"{type(self.error).__name__}: {self.error}, then {self.again!r}" if self.error else "no error"
        return f"{self.plan}, call {self.call_id}, {took}, {self.received} items, {error}"


class StreamLoad:
    """Readers on one client; each reads or feeds one stream after the other, of a plan taken at random."""

    def __init__(
        self, ids: itertools.count[int], client: RMQClient, plans: tuple[StreamPlan, ...], readers: int
    ) -> None:
        self.entries: list[StreamEntry] = []
        self._ids = ids
        self._client = client
        self._plans = plans
        self._ending = False
        self._readers = [asyncio.create_task(self._run()) for _ in range(readers)]

    async def _run(self) -> None:
        while not self._ending:
            entry = await self.read(random.choice(self._plans))
            if entry.error is not None:
                await asyncio.sleep(_AFTER_AN_ERROR)

    async def read(self, plan: StreamPlan) -> StreamEntry:
        """Read one stream to its end, whatever it is; only a cancellation is raised."""
        entry = StreamEntry(next(self._ids), plan, time.monotonic())
        self.entries.append(entry)
        try:
            if plan.service == "store":
                await self._store(entry)
            else:
                await self._read(entry)
        except Exception as error:  # noqa: BLE001 - whatever it is, the check at the end judges it
            entry.error = error
        finally:
            entry.ended = time.monotonic()
        return entry

    async def _store(self, entry: StreamEntry) -> None:
        client = self._client.options(timeout=entry.plan.timeout)
        entry.received = (await client.call("store", entry.call_id, _numbers(entry.plan.count)))[0]

    async def _read(self, entry: StreamEntry) -> None:
        plan = entry.plan
        further = (_numbers(plan.count),) if plan.fed else (plan.count, BULK_SIZE if plan.service == "bulk" else 0.02)
        options = self._client.options(timeout=plan.timeout, idempotent=plan.service == "resumable")
        stream = options.stream(plan.service, entry.call_id, *further)
        try:
            async for item in stream:
                entry.take(item[0])
                if plan.service == "bulk" and len(item[1]) != BULK_SIZE:
                    entry.disorder = f"item {item[0]} has {len(item[1])} bytes"
                if plan.leaves and entry.received == plan.count // 2:
                    entry.left = True
                    await stream.aclose()
                    return
                if plan.pause:
                    await asyncio.sleep(plan.pause)
        except Exception:
            try:
                await anext(stream)
            except Exception as again:  # noqa: BLE001 - compared with the first one
                entry.again = again
            raise

    async def flows(self, more: int = 1) -> None:
        """Wait until so many more streams are complete."""
        enough = self.complete + more
        await until(lambda: self.complete >= enough)

    @property
    def complete(self) -> int:
        return sum(entry.complete for entry in self.entries)

    async def end(self) -> None:
        """Begin no more streams; return when those under way have ended, as all of them must."""
        self._ending = True
        _, hanging = await asyncio.wait(self._readers, timeout=PLENTY + GRACE)
        for reader in hanging:
            reader.cancel()  # the time that its stream took shows it
        await asyncio.gather(*self._readers, return_exceptions=True)
        for reader in self._readers:
            if not reader.cancelled():
                reader.result()

    def violations(self, runs: Mapping[int, list[Run]]) -> list[tuple[str, StreamEntry]]:
        """Return each stream that broke a promise, and which."""
        found = [(entry.violation(runs.get(entry.call_id, [])), entry) for entry in self.entries]
        return [(what, entry) for what, entry in found if what]


async def _numbers(end: int) -> AsyncIterator[int]:
    for number in range(end):
        yield number
        if number % 10 == 9:
            await asyncio.sleep(0.01)

"""The ledger: every call that a test makes, how it ended, and whether it may have ended so."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rabibridge import CallTimeoutError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge import RMQClient
    from tests.chaos.runs import Run

__all__ = ["ECHO", "KEYED", "LASTING", "ONCE", "PLENTY", "SAFE", "THREAD", "WORK", "Entry", "Ledger", "Plan"]

GRACE = 10.0
"""How long after its timeout a call may end on a machine that is busy with other things, in seconds."""
PLENTY = 60.0
"""Time for a call in seconds, that no fault of these tests takes."""
_SHOWN = 12
_PACE = 1 if os.environ.get("CHAOS_FULL") == "1" else 3
"""How many times as long as in ``make chaos`` a call works: as many are under way, on a third of the CPU time."""


@dataclass(frozen=True)
class Plan:
    """A kind of call: which service, how long it works, and what is asked of its delivery."""

    service: str
    seconds: tuple[float, float] = (0.05 * _PACE, 0.5 * _PACE)
    timeout: float | None = PLENTY
    kind: Literal["async", "sync"] = "async"
    at_most_once: bool = False
    idempotent: bool = False
    persistent: bool = False
    asked: bool = False
    """Whether the caller says that it is idempotent, rather than the service."""

    def options(self) -> dict[str, Any]:
        """Return what is given to ``remote_call`` besides the timeout."""
        options: dict[str, Any] = {"ftype": self.kind}
        if self.asked:
            options["idempotent"] = True
        if self.persistent:
            options["persistent"] = True
        return options


ECHO = Plan("echo", (0, 0))
WORK = Plan("work")
ONCE = Plan("once", (0.05, 0.5), timeout=5.0, at_most_once=True)
SAFE = Plan("safe", idempotent=True)
KEYED = Plan("work", idempotent=True, asked=True)
LASTING = Plan("work", persistent=True)
THREAD = Plan("thread", (0.02 * _PACE, 0.2 * _PACE), kind="sync")


@dataclass(slots=True)
class Entry:
    """One call."""

    call_id: int
    plan: Plan
    nonce: str
    began: float
    ended: float | None = None
    result: Any = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        return self.ended is not None and self.error is None

    def __str__(self) -> str:
        took = "has not ended" if self.ended is None else f"took {self.ended - self.began:.2f} s"
        outcome = f"{type(self.error).__name__}: {self.error}" if self.error else repr(self.result)
        return f"call {self.call_id} of {self.plan.service!r} {took}: {outcome}"


@dataclass
class Ledger:
    """Makes calls and keeps what became of each."""

    entries: dict[int, Entry] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    async def call(self, client: RMQClient, plan: Plan) -> Entry:
        """Make one call; only its cancellation is raised."""
        entry = Entry(next(self.ids), plan, secrets.token_hex(8), time.monotonic())
        self.entries[entry.call_id] = entry
        arguments = (entry.call_id, entry.nonce, random.uniform(*plan.seconds))
        try:
            entry.result = await client.remote_call(plan.service, arguments, timeout=plan.timeout, **plan.options())
        except asyncio.CancelledError as error:
            entry.error = error
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the check at the end judges it
            entry.error = error
        finally:
            entry.ended = time.monotonic()
        return entry

    @property
    def results(self) -> int:
        return sum(entry.ok for entry in self.entries.values())

    def errors(self) -> Counter[str]:
        """Return how many calls ended with which error."""
        return Counter(type(entry.error).__name__ for entry in self.entries.values() if entry.error is not None)

    def ended_with(self, *kinds: type[BaseException]) -> list[Entry]:
        return [entry for entry in self.entries.values() if isinstance(entry.error, kinds)]

    def of(self, *plans: Plan) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.plan in plans]

    def check(
        self,
        runs: Mapping[int, list[Run]],
        *,
        errors: Mapping[Plan, tuple[type[BaseException], ...]] | None = None,
        runs_twice: bool = True,
    ) -> None:
        """Hold every call against what is promised.

        Args:
            runs: what ran on the workers.
            errors: which errors calls of a plan may end with; of others every call must have its result.
            runs_twice: whether a call that is delivered at least once may have run more than once.
        """
        found = self.violations(runs, errors=errors or {}, runs_twice=runs_twice)
        text = "\n".join(
            f"{what}: {entry}; it began at {entry.began:.3f}, and ran: {runs.get(entry.call_id, [])}"
            for what, entry in found[:_SHOWN]
        )
        assert not found, f"{len(found)} of {len(self.entries)} calls broke a promise:\n{text}"

    def violations(
        self,
        runs: Mapping[int, list[Run]],
        *,
        errors: Mapping[Plan, tuple[type[BaseException], ...]],
        runs_twice: bool,
    ) -> list[tuple[str, Entry]]:
        """Return each call that broke a promise, and which: ``"hung"``, ``"wrong"``, ``"lost"`` and so on."""
        found: list[tuple[str, Entry]] = []
        for entry in self.entries.values():
            ran = runs.get(entry.call_id, [])
            wrong = _hung(entry) or _against_its_outcome(entry, ran) or _too_often(entry, ran, twice=runs_twice)
            if not wrong and entry.error is not None and not isinstance(entry.error, asyncio.CancelledError):
                wrong = "" if isinstance(entry.error, errors.get(entry.plan, ())) else "lost"
            if wrong:
                found.append((wrong, entry))
        return found


def _hung(entry: Entry) -> str:
    if entry.ended is None:
        return "hung"
    if entry.plan.timeout is not None and entry.ended - entry.began > entry.plan.timeout + GRACE:
        return "hung"
    return ""


def _against_its_outcome(entry: Entry, ran: list[Run]) -> str:
    executed = getattr(entry.error, "executed", None)
    if entry.error is None:
        if entry.result != [entry.call_id, entry.nonce]:
            return "wrong"
        return "" if ran else "wrong, for it never ran"
    if executed is False and ran:
        return "wrong, for it ran"
    if isinstance(entry.error, CallTimeoutError) and entry.plan.timeout is None:
        return "wrong, for it had no timeout"
    accepted = isinstance(entry.error, ConnectionLostError) and entry.error.accepted
    in_time = entry.plan.timeout is None or entry.plan.timeout >= PLENTY  # a broker that restarts takes seconds
    if entry.plan.persistent and accepted and in_time and not any(run.end == "end" for run in ran):
        return "lost, although it was accepted"
    return ""


def _too_often(entry: Entry, ran: list[Run], *, twice: bool) -> str:
    if len(ran) > 1 and (entry.plan.at_most_once or not twice):
        return f"ran {len(ran)} times"
    return ""

"""What is known about each call of a simulation, and whether it may have come so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.headers import HEDGE
from tests.simulation.calling import NUMBER
from tests.simulation.services import SERVICES

if TYPE_CHECKING:
    from rabibridge_core.transport import Request
    from rabibridge_testing._memory.queue import MemoryQueue
    from tests.simulation.nodes import Node
    from tests.simulation.plan import Call
    from tests.simulation.world import ClientMember, World

__all__ = ["Checker", "Record", "Run"]


_FEW_PENDING = 8
"""With fewer calls that a client may have pending, they wait for each other."""


@dataclass(eq=False)
class Run:
    """One run of a function.

    Attributes:
        node: the worker.
        service: the name of the service.
        number: the number of the call.
        began: when, in seconds.
        ended: when, in seconds; ``None``: it runs.
        how: ``"done"``, or the type of what it has raised.
        got: the items of an upload that it has got.
        sent: how many items it has given.
    """

    node: Node
    service: str
    number: int
    began: float
    ended: float | None = None
    how: str = ""
    got: list[int] = field(default_factory=list)
    sent: int = 0


@dataclass(eq=False)
class Record:
    """What came of one call.

    Attributes:
        call: the call.
        client: who has made it.
        began: when, in seconds.
        ended: when, in seconds; ``None``: it has not ended.
        result: its result.
        error: what it has raised.
        cancelled_at: when its task was cancelled.
        got: items, results, reports of progress, or answers, as they came.
        given: how many items of an upload were drawn.
    """

    call: Call
    client: ClientMember
    began: float
    ended: float | None = None
    result: Any = None
    error: BaseException | None = None
    cancelled_at: float | None = None
    got: list[Any] = field(default_factory=list)
    given: int = 0


class Checker:
    """Notes what happens, and what must not have happened.

    Attributes:
        violations: what must not have happened: its kind, and what it is in words.
        records: the calls by number.
        runs: the runs of functions by number of the call.
        faulty: the kinds of faults that change messages, and have been there.
        ends: how often calls have ended in each way.
    """

    def __init__(self, world: World) -> None:
        """Nothing has happened yet."""
        self.world = world
        self.violations: list[tuple[str, str]] = []
        self.records: dict[int, Record] = {}
        self.runs: dict[int, list[Run]] = {}
        self.faulty: set[str] = set()
        self.ends: Counter[str] = Counter()
        self.sent: Counter[int] = Counter()
        self.resent: Counter[int] = Counter()
        self.hedged: Counter[int] = Counter()
        self.sent_at: dict[int, float] = {}
        self.route_lost_at: list[float] = []
        self.restarts = 0
        self.dropped_queues = 0
        self._running: Counter[tuple[str, str]] = Counter()

    def violated(self, kind: str, text: str) -> None:
        """Note what must not have happened."""
        self.violations.append((kind, f"{self.world.loop.time() - self.world.plan.start:.4f}: {text}"))
        self.world.trace.note("VIOLATION", kind, text)

    def began(self, node: Node, service: str, number: int) -> Run:
        """Called when a function begins."""
        run = Run(node, service, number, self.world.loop.time())
        self.runs.setdefault(number, []).append(run)
        self.world.trace.note("run", service, number, node.name)
        running = self._running
        running[node.name, service] += 1
        if running[node.name, service] > SERVICES[service].runs:
            self.violated("concurrency", f"{node.name} runs {running[node.name, service]} calls of {service!r}")
        return run

    def ended(self, run: Run, how: str) -> None:
        """Called when a function ends."""
        if run.node.dead:
            return
        run.ended, run.how = self.world.loop.time(), how
        self.world.trace.note("ran", run.service, run.number, run.node.name, how)
        self._running[run.node.name, run.service] -= 1

    def published(self, request: Request) -> None:
        """Called when a request has reached the broker."""
        number = (request.headers or {}).get(NUMBER)
        self.world.trace.note("publish", request.routing_key, number)
        if isinstance(number, int):
            self.sent[number] += 1
            self.sent_at.setdefault(number, self.world.loop.time())
            self.resent[number] += (request.headers or {}).get("rb-resent") is True
            self.hedged[number] += (request.headers or {}).get(HEDGE) is True

    def deleted(self, queue: MemoryQueue) -> None:
        """Called when a queue is deleted, with the requests in it."""
        self.dropped_queues += 1
        self.route_lost_at.append(self.world.loop.time())

    def restarted(self) -> None:
        """Called when the broker restarts."""
        self.restarts += 1

    def stranded(self) -> bool:
        """Whether requests may have been lost, or may run twice, through no fault of an engine."""
        return bool(self.restarts or self.dropped_queues)

    def runs_of(self, number: int) -> list[Run]:
        """Return the runs of one call."""
        return self.runs.get(number, [])

    def running_long(self, service: str) -> bool:
        """Whether functions took so long that a call of this service may have waited for them.

        Those are functions of the service, or any where a client may have few calls pending.
        """
        everything = self.world.plan.max_pending < _FEW_PENDING
        return sum((run.ended or run.began) - run.began for runs in self.runs.values() for run in runs
                   if everything or run.service == service) > 8.0  # fmt: skip

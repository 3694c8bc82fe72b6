"""One simulation, from its plan to what the checker has found."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.simulation.calling import make_call
from tests.simulation.checker import Checker, Record
from tests.simulation.decisions import Decisions
from tests.simulation.faults import make_fault, stop_faults
from tests.simulation.leaks import find_leaks
from tests.simulation.loop import SimulationLoop
from tests.simulation.members import ClientMember, Member, ShardedMember, WorkerMember
from tests.simulation.plan import CLIENTS, WORKERS, Call
from tests.simulation.promises import judge_promises
from tests.simulation.services import UNSERVED
from tests.simulation.trace import Trace
from tests.simulation.verdicts import LATE, judge_call, judge_runs
from tests.simulation.wire import SimulatedBroker

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings
    from tests.simulation.nodes import Node
    from tests.simulation.plan import Fault, Plan

__all__ = ["ClientMember", "Member", "World"]

_CONNECTING, _CLOSING, _QUIET = 60.0, 60.0, 30.0
_PROBE_TIMEOUT = 20.0


class World:
    """All that exists in one simulation.

    Attributes:
        plan: what happens.
        decisions: what chance decides.
        loop: the event loop.
        trace: what has happened.
        brokers: the brokers.
        checker: what must not have happened.
        clients: the clients.
        workers: the workers, those that are there now.
        members: all processes that were ever there.
        faults: how often each kind of fault has occurred.
        services: what the workers serve.
        closing: whether all is closed because the simulation ends.
        closed_at: since when, in seconds.
    """

    client_type: type[ClientMember] = ClientMember
    worker_type: type[WorkerMember] = WorkerMember
    rest = 0.0

    def __init__(self, plan: Plan, given: list[int] | None = None) -> None:
        """Prepare; nothing happens yet."""
        self.plan = plan
        self.decisions = Decisions(plan.seed, given)
        self.loop = self.make_loop()
        self.trace = Trace(self.loop)
        self.checker = Checker(self)
        self.brokers = self.make_brokers()
        self.members: list[Member] = []
        self.clients: list[ClientMember] = []
        self.workers: list[WorkerMember] = []
        self.faults: Counter[str] = Counter()
        self.closing, self.closed_at = False, 0.0
        self.services = sorted({call.service for call in plan.calls} - {UNSERVED}) or ["plain"]

    def make_loop(self) -> Any:
        """Return its event loop."""
        return SimulationLoop(self.decisions, start=self.plan.start, shuffle=self.plan.shuffle)

    def make_brokers(self) -> list[Any]:
        """Return its brokers."""
        return [SimulatedBroker(self, name) for name in ("simulated", "second")[: 1 + self.plan.shards]]

    def make_fault(self, fault: Fault) -> None:
        """Let a fault occur, and end by itself after its time."""
        make_fault(self, fault)

    def stop_faults(self) -> None:
        """Let all faults be over, and each worker be there."""
        stop_faults(self)

    @property
    def broker(self) -> SimulatedBroker:
        """The first broker."""
        first: SimulatedBroker = self.brokers[0]
        return first

    def settings(self, settings: Settings) -> Settings:
        """Return the settings of a client."""
        return replace(settings, max_pending=self.plan.max_pending)

    def fired(self, kind: str) -> None:
        """Called when a fault occurs."""
        self.faults[kind] += 1
        self.trace.note("fault", kind)

    def worker_trouble(self) -> bool:
        """Whether a worker has been disturbed so far."""
        workers = [member for member in self.members if isinstance(member, WorkerMember)]
        return any(member.lost_at or member.left_at or member.node.dead for member in workers)

    def member_of(self, node: Node) -> Member:
        """Return what runs in a process."""
        return next(member for member in self.members if member.node is node)

    def replace_worker(self, gone: Member) -> None:
        """Let a new worker take the place of one that is gone, or leaves, unless everything is being closed."""
        if self.closing:
            return
        for index, member in enumerate(self.workers):
            if member is gone:
                self.workers[index] = self._added(self.worker_type(self, f"worker{len(self.members)}", member.broker))

    def _added(self, member: Any) -> Any:
        self.members.append(member)
        return member

    async def run(self) -> None:
        """Let it all happen."""
        self.workers = [self._added(self.worker_type(self, f"worker{number}")) for number in range(WORKERS)]
        self.clients = [self._added(self.client_type(self, f"client{number}")) for number in range(CLIENTS)]
        if self.plan.shards:
            self.workers.append(self._added(WorkerMember(self, f"worker{WORKERS}", self.brokers[1])))
            self.clients.append(self._added(ShardedMember(self, f"client{CLIENTS}")))
        await self._within(_CONNECTING, "connecting", *(member.main for member in self.clients))
        for member in self.workers:
            await self._within(_CONNECTING, "serving", member.node.spawn(member.server.wait_serving()))
        calls = [asyncio.create_task(self._call_at(call)) for call in self.plan.calls]
        for fault in self.plan.faults:
            self.loop.call_later(fault.at, self.make_fault, fault)
        end = max((*(call.at for call in self.plan.calls), *(fault.at for fault in self.plan.faults)), default=0.0)
        await asyncio.sleep(end + 1.0)
        if self.plan.ending:
            self.stop_faults()
        await self._calls_end(calls)
        if self.plan.ending:
            await self._all_works()
            await self.catch_up()
        await self._all_closes()
        find_leaks(self)
        judge_runs(self.checker)
        judge_promises(self.checker)

    async def _call_at(self, call: Call) -> None:
        await asyncio.sleep(call.at)
        await self._made(self.clients[call.client % len(self.clients)], call)

    async def _made(self, client: ClientMember, call: Call) -> Record:
        record = Record(call, client, self.loop.time())
        self.checker.records[call.number] = record
        self.trace.note("call", call.number, call.shape, call.service, client.node.name)
        task = client.node.spawn(make_call(client.client, call, record), f"call {call.number}")
        if call.cancel_after is not None:
            self.loop.call_later(call.cancel_after, self._cancel, task, record)
        await asyncio.wait((task,))
        record.ended = self.loop.time()
        if task.cancelled():  # before its first step
            record.error = asyncio.CancelledError()
        self.trace.note("end", call.number, type(record.error).__name__, str(record.result), len(record.got))
        return record

    def _cancel(self, task: asyncio.Task[None], record: Record) -> None:
        if not task.done():
            record.cancelled_at = self.loop.time()
            task.cancel()

    async def _calls_end(self, calls: list[asyncio.Task[None]]) -> None:
        """Wait until all calls have ended, and judge them; those of processes that stand still need not."""
        timeout = max((call.timeout * (4 if call.shape == "map" else 1) for call in self.plan.calls), default=0.0)
        if calls:
            await asyncio.wait(calls, timeout=timeout + 7.0 + LATE)
        for record in self.checker.records.values():
            if record.ended is not None:
                judge_call(self.checker, record)
            elif not record.client.node.frozen:
                what = f"call {record.call.number} of {record.call.service!r} ({record.call.shape})"
                self.checker.violated(f"{record.call.shape}: hangs", f"{what} does not end")
        for call in calls:
            call.cancel()

    async def _all_works(self) -> None:
        """Check that after the last fault every service takes as many calls at a time as it should."""
        for member in self.workers:
            await self._within(_CONNECTING, "serving again", member.node.spawn(member.server.wait_serving()))
        for number, broker in enumerate(self.brokers):
            client: ClientMember = self._added(self.client_type(self, f"prober{number}", broker))
            await self._within(_CONNECTING, "connecting again", client.main)
            await self._serves_again(client, 10_000 + number * 1_000)

    async def _serves_again(self, client: ClientMember, first: int) -> None:
        calls = [
            Call(first + index, 0.0, 0, service, "call", 0.02, "ok", _PROBE_TIMEOUT)
            for index, service in enumerate(
                service
                for service in self.services
                if service in _PROBED
                for _ in range(2 * WORKERS if service != "classed" else 2)
            )
        ]
        for record in await asyncio.gather(*(self._made(client, call) for call in calls)):
            if record.error is not None:
                text = f"after the last fault: {record.call.service!r}: {type(record.error).__name__}: {record.error}"
                self.checker.violated("not recovered", text)

    async def catch_up(self) -> None:
        """Wait until the workers have done what waits in queues."""

    async def _all_closes(self) -> None:
        self.closing, self.closed_at = True, self.loop.time()
        for member in self.members:
            if not member.node.dead:
                member.node.thaw()
        for member in self.members:
            if not member.node.dead and isinstance(member, ClientMember):
                await self._within(_CLOSING, f"closing {member.node.name}", member.node.spawn(member.close()))
        for member in self.members:
            if not member.node.dead and isinstance(member, WorkerMember):
                await self._within(_CLOSING, f"closing {member.node.name}", member.node.spawn(member.close()))
        alive = [member for member in self.members if not member.node.dead]
        await self._within(_CLOSING, "leaving", *(member.main for member in alive))
        await asyncio.sleep(self.rest)

    async def _within(self, seconds: float, what: str, *tasks: asyncio.Task[Any]) -> None:
        """Wait for tasks, which must end in time and without an error."""
        _, late = await asyncio.wait(tasks, timeout=seconds)
        if late:
            self.checker.violated(f"{what.split()[0]}: hangs", f"{what} takes longer than {seconds} s")
        for task in tasks:
            if task not in late and not task.cancelled() and task.exception() is not None:
                self.checker.violated(what, f"{what}: {task.exception()!r}")


_PROBED = (
    "plain", "wide", "bounded", "once", "again", "ahead", "classed", "reporting", "threaded", "adapting", "hedged",
    "hurried",
)  # fmt: skip

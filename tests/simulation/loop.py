"""An event loop with virtual time, whose order of events is drawn from a seed.

What asyncio promises is kept: callbacks run in the order of ``call_soon``, timers in the order of their times, and
messages of one channel in the order in which they were sent. Chance decides the rest: when each message arrives, which
of several channels is read first, whether before or after the callbacks that are ready, the order of timers that are
due at the same time, and how late the loop notices a timer. ``shuffle`` also mixes ready callbacks of different tasks,
which asyncio does not do: it finds what relies on their order.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from rabibridge_core import _clock
from tests.simulation.nodes import NODE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from tests.simulation.decisions import Decisions
    from tests.simulation.nodes import Node

__all__ = ["Lane", "SimulationLoop", "StuckError"]

_TURN = 1e-6
"""How long a turn takes, in seconds: some, or a timer that is early by a rounding would run in circles."""
_WALL = 1_000_000.0
_STEADY = 5_000_000.0


class StuckError(Exception):
    """Nothing can happen any more, and the simulation has not ended; or too much happens."""


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in sets does not depend on its address."""

    node: Node | None = None

    def __init__(self, coro: Any, serial: int, **options: Any) -> None:
        """Run ``coro``; ``serial``: its place."""
        self.serial = serial  # asyncio puts it into a set at once
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.serial


class _Message(asyncio.Handle):
    """The arrival of a message."""

    __slots__ = ("lane",)

    def __init__(self, callback: Any, args: Any, loop: SimulationLoop, context: Context, lane: Lane) -> None:
        super().__init__(callback, args, loop, context)
        self.lane = lane


class Lane:
    """Messages that arrive in the order in which they were sent.

    Attributes:
        messages: those that are under way, and when they arrive.
        sent_until: when the last of them arrives.
        held: whether none arrives now.
    """

    __slots__ = ("held", "messages", "sent_until")

    def __init__(self) -> None:
        """Start empty."""
        self.messages: deque[tuple[float, asyncio.Handle]] = deque()
        self.sent_until = 0.0
        self.held = False


class SimulationLoop(asyncio.BaseEventLoop):
    """The event loop of one simulation.

    Attributes:
        turns: how many turns it has made.
        lanes: the channels that have ever had messages.
        shuffle: whether ready callbacks of different tasks are mixed.
        turns_max: more turns than any run needs: something runs in circles.
    """

    turns_max = 30_000

    def __init__(self, decisions: Decisions, *, start: float, shuffle: bool) -> None:
        """Start at the time ``start``."""
        super().__init__()
        self._now = start
        self._decisions = decisions
        self.shuffle = shuffle
        self.turns = 0
        self.lanes: list[Lane] = []
        self.failures: list[str] = []
        self.tasks: list[SimulatedTask] = []
        self.wall_offset = _WALL
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._failed)
        self.set_wall(0.0)

    def set_wall(self, jump: float) -> None:
        """Let the wall clock jump by so many seconds."""
        self.wall_offset += jump
        if _clock._virtual is None:
            _clock.use_virtual(self, self)
        assert _clock._virtual is not None
        _clock._virtual[self] = _clock._Virtual(self, self.wall_offset, _STEADY)

    @property
    def stands(self) -> bool:
        return True

    def time(self) -> float:
        return self._now

    def outside(self, waiting: asyncio.Future[Any]) -> None:
        """Nothing outside of this loop is waited for."""

    def _make_task(self, loop: Any, coro: Any, context: Context | None = None, **options: Any) -> SimulatedTask:
        task = SimulatedTask(coro, len(self.tasks), loop=loop, context=context, **options)
        task.node = (copy_context() if context is None else context).get(NODE)
        self.tasks.append(task)
        return task

    def _failed(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context.get('message')}: {type(error).__name__}: {error}")

    def _write_to_self(self) -> None:
        pass

    def _process_events(self, event_list: Any) -> None:
        pass

    def call_at(  # type: ignore[override]  # its type has a variadic parameter
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if context is not None and NODE not in context:
            context.run(
                NODE.set, NODE.get()
            )  # timers of the engines have empty contexts; they are of a process all the same
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]  # as above
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        raise RuntimeError(f"a simulation has no threads, and {func!r} needs one")

    def deliver(self, lane: Lane, context: Context, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback when its message arrives: later than all before it in its lane."""
        if lane.sent_until == 0.0:
            self.lanes.append(lane)
        lane.sent_until = max(lane.sent_until, self._now + self._decisions.delay(), 1e-9)
        lane.messages.append((lane.sent_until, _Message(callback, args, self, context, lane)))

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns > self.turns_max:
            raise StuckError(f"{self.turns} turns of the event loop: something runs in circles")
        self._now += _TURN
        ready = self._ready
        if not ready:
            self._advance()
        self._read_lanes()
        self._take_due_timers()
        if self.shuffle and len(ready) > 1:
            self._mix()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            node = handle._context.get(NODE)  # type: ignore[attr-defined]
            if node is not None and (node.dead or node.frozen):
                if node.frozen:
                    node.held.append(handle)
                continue
            handle._run()

    def _advance(self) -> None:
        """Go to the next event, or some time beyond it: a busy machine notices several at once."""
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        upcoming = min(
            (lane.messages[0][0] for lane in self.lanes if lane.messages and not lane.held), default=math.inf
        )
        if scheduled:
            upcoming = min(upcoming, scheduled[0]._when)  # type: ignore[attr-defined]
        if upcoming == math.inf:
            raise StuckError("nothing can happen any more")
        late = self._decisions.choose(16)
        self._now = max(self._now, upcoming) + (0.0 if late < 13 else (late - 12) * 0.002)

    def _read_lanes(self) -> None:
        """Take what has arrived: of several lanes in any order, and not always all of it at once."""
        now, decisions = self._now, self._decisions
        arrived = [lane for lane in self.lanes if lane.messages and lane.messages[0][0] <= now and not lane.held]
        while arrived:
            number = decisions.choose(len(arrived) + (1 if self._ready else 0))
            if number == len(arrived):
                return  # they are read in the next turn
            lane = arrived[number]
            self._ready.append(lane.messages.popleft()[1])
            if not lane.messages or lane.messages[0][0] > now:
                del arrived[number]

    def _take_due_timers(self) -> None:
        scheduled, now = self._scheduled, self._now
        due: list[Any] = []
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= now):  # type: ignore[attr-defined]
            timer: Any = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                due.append(timer)
        while due:
            same = 1
            while same < len(due) and due[same]._when == due[0]._when:
                same += 1
            self._ready.append(due.pop(self._decisions.choose(same)))

    def _mix(self) -> None:
        """Bring the ready callbacks into any order, but those of one owner into theirs."""
        queues: dict[int, deque[asyncio.Handle]] = {}
        for handle in self._ready:
            owner: Any = handle.lane if type(handle) is _Message else getattr(handle._callback, "__self__", handle)  # type: ignore[attr-defined]
            queues.setdefault(id(owner), deque()).append(handle)  # the order of a dict is that of its insertions
        waiting = list(queues.values())
        self._ready.clear()
        while waiting:
            number = self._decisions.choose(len(waiting))
            self._ready.append(waiting[number].popleft())
            if not waiting[number]:
                del waiting[number]

"""The broker behind the ``fake_broker`` fixture: an in-memory broker that runs functions and records calls."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings.nearest import nearest
from rabibridge_testing._fake.clock import VirtualClock
from rabibridge_testing._fake.conversations import Conversations
from rabibridge_testing._fake.replaying import ReplayStub
from rabibridge_testing._fake.standing_clock import stands_still
from rabibridge_testing._memory.threads import locked

if TYPE_CHECKING:
    from rabibridge_testing._fake.network_guard import NetworkGuard
    from rabibridge_testing._memory.messages import CallTrace
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["FakeBroker"]


class FakeBroker(Conversations):
    """The broker of one test.

    It serves the functions given to :meth:`add_service`, and stubs, itself, as long as any client or server of the test
    is connected, on the event loop of the first of these. All methods may be called from any thread.

    Attributes:
        namespace: the namespace of these functions, empty for none. A test may set it before the first of them.
        strict: whether :meth:`verify`, which is called at the end of the test, fails for a call that nobody serves, and
            for a stub that was not called or could not answer, and a recorded call that was not made. A
            test may set it at any time.
        clock: lets time pass without waiting.
        network: refuses network connections; ``None``: they are none of its business.
    """

    network: NetworkGuard | None

    def __init__(self, *, strict: bool = False, auto_advance: bool = False) -> None:
        """Create an empty broker that records all calls; ``auto_advance``: see :class:`VirtualClock`."""
        super().__init__()
        self.strict, self.network = strict, None
        self.clock = VirtualClock(self._elsewhere, auto_advance=auto_advance)
        self._warned = False

    @locked
    def attach(self, transport: MemoryTransport, loop: asyncio.AbstractEventLoop) -> None:
        """Connect ``transport``: see :class:`MemoryBroker`."""
        self.clock.connected(loop)
        super().attach(transport, loop)
        self._look_at(loop)

    def traced(self, trace: CallTrace) -> None:
        """Called with the record of each request that was sent."""
        if (loop := asyncio._get_running_loop()) is not None:
            self._look_at(loop)
        super().traced(trace)

    def _look_at(self, loop: asyncio.AbstractEventLoop) -> None:
        """Warn once if the clock of an event loop stands still."""
        if not self._warned and stands_still(loop):
            self._warned = True
            warnings.warn(
                "the clock of the event loop stands still, so no timeout ends: something has replaced time.monotonic. "
                "Use freeze_time(..., real_asyncio=True), or fake_broker.clock to let time pass",
                RuntimeWarning,
                stacklevel=2,
            )

    def _elsewhere(self, loop: asyncio.AbstractEventLoop) -> str:
        others = [one.name for one in self.transports if one.loop is not loop and not one.loop.is_closed()]
        return f"{others[0]} is connected on another event loop, whose time passes as it does outside" if others else ""

    def verify(self) -> None:
        """Check what ``no_network`` and strict mode ask for; without effect if the broker has neither.

        Raises:
            AssertionError: the test has tried to open a network connection.
            AssertionError: a call reached nobody, with the nearest name that is served; or a stub was not called, or
                was called and could not answer; or a fault is for a service that is neither served nor called.
        """
        __tracebackhide__ = True
        if self.network is not None:
            self.network.verify()
        if not self.strict:
            return
        problems = self._unserved()
        called = {call.service for call in self._recorded()}
        for name, stub in self._stubs.items():
            problems += dict.fromkeys(stub.misused)
            if name not in called and not isinstance(stub, ReplayStub):
                problems.append(f"the stub of {name!r} was not called")
        problems += filter(None, (recording.problem() for recording in self._recordings))
        problems += self._misspelled_faults(called)
        if problems:
            raise AssertionError("fake_broker is strict, and\n" + "\n".join(f"  {problem}" for problem in problems))

    def _unserved(self) -> list[str]:
        served = self._served_names()
        problems = []
        for trace in self.traces:
            if trace.unroutable:
                problems.append(f"{trace.service!r} was called, and nobody serves it: {_hint(trace.service, served)}")
        return list(dict.fromkeys(problems))

    def _misspelled_faults(self, called: set[str]) -> list[str]:
        known = [*self._served_names(), *called]
        return [
            f"a fault is for {one.service!r}, which is neither served nor called: {_hint(one.service, known)}"
            for one in self.faults
            if one.service is not None and one.service not in known
        ]

    def _served_names(self) -> list[str]:
        return [*self._services, *(queue.service for queue in self.queues.values())]

    @locked
    def reset(self) -> None:
        """Begin anew: forget calls, functions, stubs, faults, dead letters, and the requests that wait.

        Connections stay, and the servers of the test continue to serve. What the broker runs itself is cancelled. The
        clock is as at the beginning.
        """
        self.clock.release()
        self.clear_faults()
        self._forget_services()
        self.traces.clear()
        self.dead_letters.clear()
        self.undeliverable_replies = 0
        self.max_message_size = None
        for name, queue in list(self.queues.items()):
            queue.purge()
            if not queue.consumers:
                self.delete_queue(name)
        self.unblock()
        self.restore()

    @locked
    def shut_down(self) -> list[str]:
        """Drop all connections and queues at the end of the test, and return what was left open, as sentences.

        Functions that run are cancelled, pending calls end with ``ConnectionLostError``, and ``run_serve()`` returns,
        if their event loop continues to run. This needs no running event loop.
        """
        self.accepting = False
        self.clock.release()
        left = self._left_open()
        worker, self._worker = self._worker, None
        others = [one for one in self.transports if worker is None or one is not worker.transport]
        for transport in others:
            transport.end(
                ConnectionLostError(f"{transport.name} was closed: the test that its fake_broker belongs to is over")
            )
        if worker is not None:
            self.abandon([worker.transport])
            worker.end()
        self.abandon(list(self.transports))
        for name in list(self.queues):
            self.delete_queue(name)
        self.clear_faults()
        return left

    def _left_open(self) -> list[str]:
        """Return what is open on event loops that are not closed: connections, and functions that run.

        A loop that runs in another thread is that of a synchronous client, which may be one for all tests.
        """
        worker, own = self._worker, asyncio._get_running_loop()
        transports: list[MemoryTransport] = [
            one
            for one in self.transports
            if not (one.loop.is_closed() or (one.loop.is_running() and one.loop is not own))
        ]
        left = [f"{one.name} is still connected" for one in transports if worker is None or one is not worker.transport]
        if worker is not None and not worker.transport.loop.is_closed():
            left += [f"{name!r} is still running" for name in worker.running]
        return left


def _hint(name: str, served: list[str]) -> str:
    near = nearest(name, served)
    return f"did you mean {near!r}?" if near else f"served: {', '.join(sorted(set(served))) or 'nothing'}"

"""The network between the processes of a simulation and the broker in memory.

What a process sends reaches the broker later, and what the broker sends reaches the process later, each channel in its
order. A lost connection loses what was under way: of what the process had sent, the broker may have read a part.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from rabibridge_core.transport import ConnectionState
from rabibridge_testing import MemoryBroker
from rabibridge_testing._memory.transport import MemoryTransport
from tests.simulation.loop import Lane
from tests.simulation.nodes import NODE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rabibridge_core.transport import Request
    from tests.simulation.loop import SimulationLoop
    from tests.simulation.nodes import Node
    from tests.simulation.world import World

__all__ = ["SimulatedBroker", "SimulatedTransport", "Wire"]

_CHANNELS = {
    "confirm_arrived": "confirms", "refusal_arrived": "confirms", "size_refused": "confirms",
    "feed_refused": "confirms", "reply_arrived": "replies", "cancelled": "cancels", "caller_gone": "cancels",
    "broadcast_arrived": "broadcasts", "fed": "feeds",
}  # fmt: skip
"""Which messages of the broker keep their order among each other; those of one consumer do, too."""
_OWN = {"set", "call_later"}
"""What is no message."""


class Wire:
    """Stands for the event loop of a transport, where the broker posts what it sends."""

    def __init__(self, transport: SimulatedTransport, loop: SimulationLoop) -> None:
        """Deliver to ``transport`` on ``loop``."""
        self.transport, self.loop = transport, loop
        self.lanes: dict[Any, Lane] = {}
        self.sent = Lane()

    def is_closed(self) -> bool:
        return self.loop.is_closed()

    def time(self) -> float:
        return self.loop.time()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """Called with what the broker sends."""
        name = getattr(callback, "__name__", "")
        context = self.transport.node.context
        if name in _OWN:
            self.loop.call_soon(callback, *args, context=context)
            return
        channel: Any = _CHANNELS.get(name)
        if channel is None:
            channel = getattr(callback, "__self__", None) if name in ("_hand_over", "reply_refused") else "connection"
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane()
        self.loop.deliver(lane, context, callback, *args)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, callback, *args, context=self.transport.broker_context)

    def cut(self, *, flush: bool) -> None:
        """Let the broker read what was sent, or a part of it, and lose the rest and all that was to arrive."""
        sent, self.sent.messages = self.sent.messages, type(self.sent.messages)()
        count = len(sent) if flush else self.transport.world.decisions.choose(len(sent) + 1)
        for _ in range(count):
            sent.popleft()[1]._run()
        for lane in self.lanes.values():
            lane.messages.clear()


class SimulatedTransport(MemoryTransport):
    """A connection of one process to the broker, over a network.

    Attributes:
        node: the process.
        lost_at: when it has lost its connection, or was closed, in seconds.
        partitioned: whether the network keeps it from the broker.
    """

    broker: SimulatedBroker

    def __init__(self, broker: SimulatedBroker, node: Node) -> None:
        """Connect ``node`` to ``broker``."""
        super().__init__(broker, node.name)
        self.node, self.world = node, broker.world
        self.broker_context = copy_context()
        self.broker_context.run(NODE.set, None)
        self.lost_at: list[float] = []
        self.partitioned = False
        self.wire: Wire | None = None

    def attach(self) -> bool:
        if self.wire is None:
            self.wire = Wire(self, self.world.loop)
        attached = super().attach()
        self.loop = self.wire  # type: ignore[assignment]
        return attached

    def act(self, do: Callable[[], None], *, publishes: bool = False) -> None:
        assert self.wire is not None
        self.world.loop.deliver(self.wire.sent, self.broker_context, self._read, do, publishes)

    def _read(self, do: Callable[[], None], publishes: bool) -> None:
        super().act(do, publishes=publishes)

    def _disconnect(self, state: ConnectionState) -> None:
        if self.wire is not None:
            self.wire.cut(flush=state is ConnectionState.CLOSED and self._state is ConnectionState.READY)
        if not self.world.closing:
            self.lost_at.append(self.world.loop.time())
        super()._disconnect(state)

    def _reconnect(self) -> None:
        if not self.partitioned:
            super()._reconnect()


class SimulatedBroker(MemoryBroker):
    """The broker in memory, which tells the checker what it has accepted."""

    def __init__(self, world: World) -> None:
        """Start without queues."""
        super().__init__("simulated")
        self.world = world

    def publish(self, request: Request, reply_to: int | None = None, *, sender: int | None = None) -> None:
        self.world.checker.published(request)
        super().publish(request, reply_to, sender=sender)

    def delete_queue(self, name: str) -> None:
        queue = self._queues.get(name)
        if queue is not None:
            self.world.checker.deleted(queue)
        super().delete_queue(name)

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
        self.deaf = False

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
            lane.held = self.deaf
        self.loop.deliver(lane, context, callback, *args)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, callback, *args, context=self.transport.broker_context)

    def hold(self, *, inbound: bool, outbound: bool) -> None:
        """Let nothing arrive in these directions, and all in others."""
        self.sent.held, self.deaf = outbound, inbound
        for lane in self.lanes.values():
            lane.held = inbound

    def cut(self, *, flush: bool) -> None:
        """Let the broker read what was sent, or a part of it, and lose the rest and all that was to arrive."""
        sent, self.sent.messages = self.sent.messages, type(self.sent.messages)()
        count = 0 if self.sent.held else len(sent) if flush else self.transport.world.decisions.choose(len(sent) + 1)
        for _ in range(count):
            sent.popleft()[1]._run()
        for lane in self.lanes.values():
            lane.messages.clear()
        self.hold(inbound=False, outbound=False)


class SimulatedTransport(MemoryTransport):
    """A connection of one process to the broker, over a network.

    Attributes:
        node: the process.
        lost_at: when it has lost its connection, or was closed, in seconds.
        partitioned: whether the network keeps it from the broker.
        silences: when nothing arrived any more in one direction, in seconds.
    """

    broker: SimulatedBroker

    def __init__(self, broker: SimulatedBroker, node: Node) -> None:
        """Connect ``node`` to ``broker``."""
        super().__init__(broker, node.name)
        self.node, self.world = node, broker.world
        self.broker_context = copy_context()
        self.broker_context.run(NODE.set, None)
        node.transports.append(self)
        self.lost_at: list[float] = []
        self.silences: list[float] = []
        self.partitioned = False
        self.wire: Wire | None = None
        self._silence: object | None = None
        self._given_up = False

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

    def vanish(self) -> None:
        """Called when its process has died."""
        self.partitioned = True
        self.abort(restore=False)
        if self in self.broker.transports:
            self.broker.transports.remove(self)

    def fall_silent(self, *, inbound: bool, outbound: bool) -> object | None:
        """Let nothing arrive in these directions; return what stands for this silence, or ``None``: nothing does."""
        if self.wire is None or self._state is not ConnectionState.READY or self._silence is not None:
            return None
        self.silences.append(self.world.loop.time())
        self.wire.hold(inbound=inbound, outbound=outbound)
        self._silence = object()
        return self._silence

    def hear_again(self, silence: object) -> None:
        """Let everything arrive that was under way."""
        if silence is not None and silence is self._silence and self.wire is not None:
            self.wire.hold(inbound=False, outbound=False)
            self._silence = None

    def notice(self, silence: object) -> None:
        """Called when the process notices that the connection is dead."""
        if silence is not None and silence is self._silence:
            self.partitioned = True
            self.abort(restore=False)

    def give_up(self, silence: object) -> None:
        """Called when the broker notices it: it takes all back, and the process does not know."""
        if silence is None or silence is not self._silence:
            return
        self.lost_at.append(self.world.loop.time())
        self._given_up = True
        self.broker.forget_transport(self)

    def end_silence(self) -> None:
        """Let the process notice at once that the broker has given up, or hear again."""
        if self._given_up:
            self.notice(self._silence)
        else:
            self.hear_again(self._silence)

    def _disconnect(self, state: ConnectionState) -> None:
        self._silence = None
        if self._given_up:
            self._given_up = False
            self.broker.remember_transport(self)
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

    def __init__(self, world: World, name: str) -> None:
        """Start without queues."""
        super().__init__(name)
        self.world = world

    def transport(self, name: str = "", *, user: str = "", namespace: str = "") -> SimulatedTransport:
        node = NODE.get()
        assert node is not None
        return SimulatedTransport(self, node)

    def forget_transport(self, transport: SimulatedTransport) -> None:
        """Requeue what a connection holds, and send nothing there, without telling it."""
        if transport in self.transports:
            self.transports.remove(transport)
        for caller in transport._callers:
            if caller.address is not None:
                del self._callers[caller.address]
        for consumer in transport._consumers:
            consumer.queue.remove(consumer)
        for consumer in transport._consumers:
            returned = []
            for delivery in consumer.unsettled:
                if not delivery.replaced and delivery.queue is consumer.queue:
                    message = delivery.message
                    delivery.message = message.copy(next(self._numbers))
                    message.deliveries += delivery.handed_over
                    returned.append(message)
                delivery.replaced = True
            consumer.queue.put_back(returned)

    def remember_transport(self, transport: SimulatedTransport) -> None:
        """Know a connection again of which the process learns now that it is lost."""
        self.transports.append(transport)
        for caller in transport._callers:
            if caller.address is not None:
                self._callers[caller.address] = caller

    def publish(self, request: Request, reply_to: int | None = None, *, sender: int | None = None) -> None:
        self.world.checker.published(request)
        super().publish(request, reply_to, sender=sender)

    def leaks(self) -> list[str]:
        """Return what is left that should not be, once everything is closed."""
        alive = [one for one in self.transports if isinstance(one, SimulatedTransport) and not one.node.dead]
        found = [f"connections are left: {alive}, {list(self._callers)}"] if alive or self._callers else []
        return found + [
            f"{queue!r} has {queue.consumers} consumers"
            for queue in self.queues.values()
            if queue.unsettled or queue.consumers
        ]

    def delete_queue(self, name: str) -> None:
        queue = self._queues.get(name)
        if queue is not None:
            self.world.checker.deleted(queue)
        super().delete_queue(name)

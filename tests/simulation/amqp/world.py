"""One simulation of bytes: real clients and workers with their real transport, and a broker that speaks AMQP."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.amqp.broker import Broker
from tests.simulation.amqp.faults import make_amqp_fault, stop_amqp_faults
from tests.simulation.amqp.loop import AmqpLoop
from tests.simulation.amqp.members import AmqpClient, AmqpWorker
from tests.simulation.amqp.verdicts import judge_answers, judge_silence
from tests.simulation.calling import NUMBER
from tests.simulation.nodes import NODE
from tests.simulation.services import SERVICES
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.amqp.messages import Message, Queue
    from tests.simulation.nodes import Node
    from tests.simulation.plan import Fault

__all__ = ["AmqpNode", "AmqpWorld"]

_CATCHING_UP = 20
"""For how many seconds at most workers do what waits in queues, before all is closed."""


class _Request(NamedTuple):
    """What the checker notes of a request."""

    routing_key: str
    headers: dict[str, Any] | None


class AmqpNode:
    """The node of the broker, and how processes reach it.

    Attributes:
        model: the broker.
        context: in which its callbacks run.
        accepting: whether it takes connections.
        unreachable: processes whose connections it does not see.
        answers: how it has last answered the request of each call, and when.
    """

    def __init__(self, world: AmqpWorld) -> None:
        """Start it."""
        self.world, self.name = world, "simulated"
        self.context = copy_context()
        self.context.run(NODE.set, None)
        self.accepting = True
        self.unreachable: list[Node] = []
        self.answers: dict[int, tuple[float, str]] = {}
        self.model = Broker(self)

    def time(self) -> float:
        return self.world.loop.time()

    def later(self, seconds: float, act: Callable[[], object]) -> Any:
        return self.world.loop.call_later(seconds, act, context=self.context)

    def choose(self, count: int) -> int:
        return self.world.decisions.choose(count)

    def published(self, message: Message) -> None:
        request: Any = _Request(message.key, message.properties.headers)
        self.world.checker.published(request)

    def answered(self, message: Message, outcome: str) -> None:
        number = (message.properties.headers or {}).get(NUMBER)
        if isinstance(number, int):
            self.answers[number] = self.time(), outcome

    def answered_wrongly(self, request: Message, how: str) -> None:
        number: Any = (request.properties.headers or {}).get(NUMBER)
        record = self.world.checker.records.get(number)
        if record is None or self.time() > record.began + record.call.timeout:
            return  # nobody waits: a report of progress may be on its way still
        if how == "twice" and record.call.shape != "call":
            return  # the others have parts
        if not SERVICES[record.call.service].at_most_once:
            self.broken(f"call {record.call.number} of {record.call.service!r} was answered {how}")

    def broken(self, text: str) -> None:
        self.world.checker.violated("protocol", text)

    def deleted(self, queue: Queue) -> None:
        deleted: Any = queue
        self.world.checker.deleted(deleted)

    def silent(self) -> dict[int, float]:
        """Return the calls whose request is acknowledged without a reply, and when it was."""
        found = self.model.answering.unanswered.values()
        numbers = ((message.properties.headers or {}).get(NUMBER) for message, _ in found)
        return {number: at for number, (_, at) in zip(numbers, found, strict=True) if isinstance(number, int)}

    def restart(self) -> None:
        """Lose all connections, and what is not durable."""
        for connection in list(self.model.connections):
            connection.reset()
        self.model.restart()

    def leaks(self) -> list[str]:
        """Return what is left that should not be, once everything is closed."""
        links = [link for member in self.world.members for link in member.node.transports]
        for link in links:
            if link.silent:
                link.server.lost()  # it cannot know yet that the process has closed it
        found = [f"the connection {one.name!r} is left" for one in self.model.connections]
        found += [f"a socket of {link.node} is left" for link in links if not link.socket.is_closing()]
        return found + [
            f"queue {queue.name!r} has {len(queue.consumers)} consumers and {queue.unsettled} unsettled messages"
            for queue in self.model.queues.values()
            if queue.unsettled or queue.consumers
        ]


class AmqpWorld(World):
    """All that exists in one simulation of bytes."""

    loop: AmqpLoop
    client_type, worker_type = AmqpClient, AmqpWorker
    rest = 3.0

    def make_loop(self) -> AmqpLoop:
        loop = AmqpLoop(self.decisions, start=self.plan.start, shuffle=self.plan.shuffle)
        loop.world = self
        return loop

    def make_brokers(self) -> list[Any]:
        return [AmqpNode(self)]

    @property
    def amqp(self) -> AmqpNode:
        """The broker."""
        node: Any = self.broker
        assert isinstance(node, AmqpNode)
        return node

    def make_fault(self, fault: Fault) -> None:
        make_amqp_fault(self, fault)

    async def run(self) -> None:
        await super().run()
        judge_answers(self.checker, self.brokers[0].answers)
        judge_silence(self.checker, self.brokers[0].silent())

    async def catch_up(self) -> None:
        queues = self.amqp.model.queues
        for _ in range(_CATCHING_UP):
            if not any(queue.messages for queue in queues.values() if queue.owner is None):
                return
            await asyncio.sleep(1.0)

    def stop_faults(self) -> None:
        stop_amqp_faults(self)

"""The event loop of a simulation, with a network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.simulation.amqp.network import Address, Link
from tests.simulation.loop import SimulationLoop
from tests.simulation.nodes import NODE

if TYPE_CHECKING:
    from tests.simulation.amqp.world import AmqpWorld
    from tests.simulation.nodes import Node

__all__ = ["AmqpLoop", "dial"]


class _Future(asyncio.Future[Any]):
    """A future whose place in sets does not depend on its address."""

    serial = 0

    def __hash__(self) -> int:
        return self.serial


class AmqpLoop(SimulationLoop):
    """A loop on which processes connect to the simulated broker.

    Attributes:
        world: what it belongs to.
    """

    world: AmqpWorld
    turns_max = 100_000
    _futures = 0

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        self._futures += 1
        future.serial = self._futures
        return future

    async def reach(self) -> Address:
        """Connect to the broker, if it can be reached."""
        await asyncio.sleep(self.world.decisions.delay())
        node = self._node()
        if node in self.world.amqp.unreachable:
            await asyncio.sleep(5.0)
            raise TimeoutError(110, "Connection timed out")
        if not self.world.amqp.accepting:
            raise ConnectionRefusedError(111, "Connection refused")
        return Address()

    async def create_connection(  # type: ignore[override]  # what the transport uses of it
        self, protocol_factory: Any, *, sock: Any, **options: Any
    ) -> tuple[Any, Any]:
        protocol = protocol_factory()
        link = Link(self, self._node(), protocol)
        protocol.connection_made(link.socket)
        return link.socket, protocol

    def _node(self) -> Node:
        node = NODE.get()
        assert node is not None
        return node


async def dial(address: object) -> Any:
    """Connect to the simulated broker, whatever the address."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, AmqpLoop)
    return await loop.reach()
